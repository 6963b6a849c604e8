// Figures of claims: plotly data whose colours are names, painted for the light or the dark scheme.
(() => {
  "use strict";
  const light = { ink: "#1b2327", muted: "#566269", grid: "#e6e8e3", line: "#dcdfd9", raised: "#f3f4f0", surface: "#ffffff", accent: "#0f5c8c", good: "#17684c", warn: "#8a4b00", hues: ["#2a6fbb", "#d4600f", "#1b8a6b", "#8c4fc4", "#c4353f", "#14819f", "#8a7400", "#6d6a66"] };
  const dark = { ink: "#e6eaec", muted: "#a0adb4", grid: "#283136", line: "#333d42", raised: "#1d2428", surface: "#14191c", accent: "#7cc0ee", good: "#86d8b4", warn: "#f2b866", hues: ["#6ea8f0", "#f2925a", "#4fc3a1", "#c09bf0", "#f27f84", "#58bddd", "#cfb84c", "#b0aaa3"] };
  const scheme = () => {
    const theme = document.body.dataset.theme;
    const isDark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
    return isDark ? dark : light;
  };
  const painted = (value, colours) => {
    if (typeof value === "string" && /^@[a-z]+\d?(\/[\d.]+)?$/.test(value)) {
      const [name, alpha] = value.slice(1).split("/");
      const hex = name.startsWith("hue") ? colours.hues[Number(name.slice(3))] : colours[name] || colours.ink;
      if (alpha === undefined) return hex;
      const part = (i) => parseInt(hex.slice(i, i + 2), 16);
      return `rgba(${part(1)}, ${part(3)}, ${part(5)}, ${alpha})`;
    }
    if (Array.isArray(value)) return value.map((v) => painted(v, colours));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v, colours)]));
    return value;
  };
  const axis = (given) => ({ gridcolor: "@grid", linecolor: "@muted", tickcolor: "@muted", zeroline: false, automargin: true, ticks: "outside", ticklen: 4, ...given, title: { font: { size: 12, color: "@muted" }, standoff: 8, ...(given.title || {}) } });
  const draw = (box) => {
    const figure = JSON.parse(box.dataset.chart);
    const layout = {
      ...figure.layout, autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "@ink" },
      margin: { l: 52, r: 12, t: 12, b: 44 },
      legend: { orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom" },
      hoverlabel: { bgcolor: "@raised", bordercolor: "@line", font: { color: "@ink" }, align: "left" },
      hovermode: "closest",
    };
    for (const key of ["xaxis", "yaxis", "yaxis2"]) if (layout[key]) layout[key] = axis(layout[key]);
    Plotly.react(box, painted(figure.data, scheme()), painted(layout, scheme()), { responsive: true, displaylogo: false, displayModeBar: false });
  };
  // A figure is drawn when it comes into sight: a page of forty stays light.
  const seen = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting && !seen.has(entry.target)) { seen.add(entry.target); draw(entry.target); }
  }, { rootMargin: "400px" });
  document.querySelectorAll(".chart[data-chart]").forEach((box) => watcher.observe(box));
  new MutationObserver(() => seen.forEach(draw)).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => seen.forEach(draw));
})();
