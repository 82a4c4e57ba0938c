const searchPlaces = {/* places */};
const searchGuides = /* guides */;
const searchWords = text => ` ${text.toLowerCase().replace(/[^\p{L}\p{N}_.]+/gu, " ").trim()} `;
const searchAsked = () => new URLSearchParams(window.location.search).get("q") || "";
const searchHas = (title, asked) => [" ", "s "].some(end => title.includes(asked.trimEnd() + end));
const searchRank = (page, heading, anchor, asked) => {
  const title = searchWords(heading), place = searchPlaces[page] ?? 99;
  if (!asked.trim()) return 0;
  if (!anchor && place <= searchGuides && searchHas(title, asked)) return 600;
  if (anchor && page === "glossary" && searchHas(title, asked)) return 500;
  if (anchor && page.startsWith("api") && title === asked) return page === "api" ? 450 : 400;
  if (!anchor && asked.trim().split(" ").every(word => searchHas(title, ` ${word}`))) return 300;
  return searchHas(title, asked) ? 200 : 0;
};
var Scorer = {
  objNameMatch: 11, objPartialMatch: 6, objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
  score: ([page, title, anchor, , score]) => {
    const heading = anchor ? title.split(" > ").at(-1) : title;
    return score + searchRank(page, heading, anchor, searchWords(searchAsked())) + 40 - 3 * (searchPlaces[page] ?? 13);
  },
};
