"use strict";
(() => {
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const coarse = window.matchMedia("(pointer: coarse)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: coarse ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
  };

  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");

  const recolor = (value) =>
    JSON.parse(JSON.stringify(value).replace(/#[0-9a-f]{6}/g, (color) => payload.dark[color] || color));

  function draw() {
    const dark = theme() === "dark";
    for (const place of document.querySelectorAll(".plot")) {
      const { data, layout } = payload.blocks[Number(place.dataset.block)];
      const themed = dark ? recolor({ data, layout }) : structuredClone({ data, layout });
      // One finger scrolls the page; it does not drag a zoom box.
      const dragmode = coarse ? false : "zoom";
      Plotly.react(place, themed.data, { ...themed.layout, template: payload.templates[theme()], dragmode }, config);
    }
  }

  function field(value) {
    if (value === null || value === undefined) return "";
    let text = String(value);
    // A spreadsheet would run text that begins like a formula.
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }

  function download(block) {
    const lines = [block.columns, ...block.rows].map((row) => row.map(field).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv;charset=utf-8" }));
    link.download = block.name + ".csv";
    document.body.append(link);
    link.click();
    link.remove();
    window.setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  for (const button of document.querySelectorAll(".download")) {
    button.addEventListener("click", () => download(payload.blocks[Number(button.dataset.block)]));
  }
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    draw();
  });
  system.addEventListener("change", draw);
  draw();
})();
