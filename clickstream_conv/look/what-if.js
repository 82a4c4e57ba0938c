document.querySelectorAll(".what-if").forEach(whole => {
  const ways = JSON.parse(whole.querySelector('script[type="application/json"]').textContent);
  const boxes = [...whole.querySelectorAll(".switches input")], rows = [...whole.querySelectorAll("tbody tr")];
  const now = whole.querySelector(".now"), put = (name, text) => { now.querySelector(name).textContent = text; };
  const show = () => {
    const on = boxes.map(box => Number(box.checked)), at = ways.findIndex(way => way.on.join() === on.join()), way = ways[at];
    put(".head", way.shown);
    put(".says", way.says);
    now.querySelector(".track i").style.width = `${100 * way.probability}%`;
    now.querySelector(".path").replaceChildren(...way.path.map((step, i) => {
      const item = document.createElement("li");
      item.textContent = step;
      if (step !== ways[0].path[i]) item.className = "changed";
      return item;
    }));
    rows.forEach((row, i) => { if (i === at) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current"); });
  };
  boxes.forEach(box => { box.checked = false; box.addEventListener("change", show); });
  whole.querySelectorAll("[hidden]").forEach(part => { part.hidden = false; });
  show();
});
