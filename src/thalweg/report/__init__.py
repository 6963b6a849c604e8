"""How are records shown? As words, figures and one self-contained page; nothing is trained here."""
