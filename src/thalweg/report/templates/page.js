(() => {
  "use strict";
  const root = document.documentElement;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");

  // "@hue0/0.2" → the scheme's colour with that opacity.
  const colour = (token) => {
    const [name, alpha] = token.slice(1).split("/");
    const hex = getComputedStyle(root).getPropertyValue("--" + name).trim();
    if (alpha === undefined) return hex;
    const part = (i) => parseInt(hex.slice(i, i + 2), 16);
    return `rgba(${part(1)}, ${part(3)}, ${part(5)}, ${alpha})`;
  };
  const painted = (value) => {
    if (typeof value === "string") return /^@[a-z]+\d?(\/[\d.]+)?$/.test(value) ? colour(value) : value;
    if (Array.isArray(value)) return value.map(painted);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v)]));
    return value;
  };
  const axis = (given, narrow) => ({
    gridcolor: "@grid", linecolor: "@muted", tickcolor: "@muted", zeroline: false, automargin: true, ticks: "outside",
    ticklen: 4, ...given, title: { font: { size: narrow ? 12 : 13, color: "@muted" }, standoff: 8, ...(given.title || {}) },
  });
  const coarse = matchMedia("(pointer: coarse)");

  const draw = (box) => {
    const figure = figures[box.closest("article").id + "/" + box.dataset.figure];
    const narrow = box.clientWidth < 560;
    const layout = {
      ...figure.layout, height: figure.height, autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 13, color: "@ink" },
      margin: { l: narrow ? 44 : 56, r: narrow ? 8 : 16, t: 12, b: 44 },
      legend: { orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom" },
      hoverlabel: { bgcolor: "@raised", bordercolor: "@line", font: { color: "@ink", size: 13 }, align: "left" },
      hovermode: "closest", dragmode: coarse.matches ? false : "zoom",
    };
    for (const key of ["xaxis", "yaxis", "yaxis2"]) if (layout[key]) layout[key] = axis(layout[key], narrow);
    const config = {
      responsive: true, displaylogo: false, scrollZoom: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    };
    Plotly.react(box, painted(structuredClone(figure.data)), painted(layout), config);
  };
  const drawAll = () => document.querySelectorAll(".chart").forEach(draw);
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = window.innerWidth;
  let waiting;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
  // Paper is light and shows what is folded.
  window.addEventListener("beforeprint", () => {
    root.dataset.scheme = "light";
    document.querySelectorAll("details.more").forEach((d) => { d.dataset.was = d.open; d.open = true; });
    drawAll();
  });
  window.addEventListener("afterprint", () => {
    delete root.dataset.scheme;
    document.querySelectorAll("details.more").forEach((d) => { d.open = d.dataset.was === "true"; });
    drawAll();
  });

  const copied = (button, done) => {
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  };
  for (const button of document.querySelectorAll(".copy"))
    button.addEventListener("click", () => {
      const code = button.parentElement.querySelector("code");
      getSelection().selectAllChildren(code);
      if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(() => copied(button, true), () => copied(button, document.execCommand("copy")));
      else copied(button, document.execCommand("copy"));
    });
  document.getElementById("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([document.getElementById("records").textContent], { type: "application/json" }));
    link.download = "thalweg-records.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  const raw = document.getElementById("raw");
  const inspect = document.getElementById("inspect");
  inspect.addEventListener("click", () => {
    if (!raw.textContent) raw.textContent = JSON.stringify(read("records"), null, 1);
    raw.hidden = !raw.hidden;
    inspect.setAttribute("aria-expanded", String(!raw.hidden));
    inspect.textContent = raw.hidden ? "Show them" : "Hide them";
  });
  root.dataset.drawn = "true";
})();
