(() => {
  const swap = {"#333333": "#e4e6ea", "#404040": "#d5d8dd", "#595959": "#b9bec7", "#8c8c8c": "#8f97a3", "#e6e6e6": "#3a414b", "#0072b2": "#3d9be0", "#882255": "#d66aa0", "#332288": "#9489e8"};
  const dark = () => document.documentElement.dataset.theme === "dark";
  const dressed = text => dark() ? text.replace(/#(?:333333|404040|595959|8c8c8c|e6e6e6|0072b2|882255|332288)/gi, colour => swap[colour.toLowerCase()]) : text;
  const draw = figure => {
    const {data, layout, config} = JSON.parse(dressed(figure.querySelector('script[type="application/json"]').textContent));
    const paper = {paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)"};
    const narrow = figure.clientWidth < 480, margin = layout.margin || {}, most = figure.clientWidth / 7.5;
    const wrap = text => text.split(" ").reduce(([...lines], word) => (lines.at(-1) + word).length < most ? [...lines.slice(0, -1), `${lines.at(-1)} ${word}`.trim()] : [...lines, word], [""]).join("<br>");
    const noted = (layout.annotations || []).map(note => ({...note, text: wrap(note.text || "")}));
    const phone = narrow ? {margin: {...margin, l: Math.min(margin.l ?? 60, 60), r: Math.min(margin.r ?? 20, 20)}, annotations: noted} : {};
    Plotly.react(figure.querySelector(".plot"), data, {...layout, ...paper, ...phone}, config);
  };
  const all = () => document.querySelectorAll("figure.chart").forEach(draw);
  all();
  let theme = document.documentElement.dataset.theme;
  new MutationObserver(() => { if (document.documentElement.dataset.theme !== theme) { theme = document.documentElement.dataset.theme; all(); } })
    .observe(document.documentElement, {attributeFilter: ["data-theme"]});
})();
