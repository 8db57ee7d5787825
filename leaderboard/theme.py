"""The look: a theme of system fonts (nothing is fetched from elsewhere), the style sheet, and a little JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leaderboard import tooltips

if TYPE_CHECKING:
    import gradio as gr

_SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.ThemeClass:
    """Gradio's base theme with system fonts."""
    import gradio as gr

    return gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=_SANS, font_mono=_MONO).set(
        body_background_fill="#fbfbfc",
        body_background_fill_dark="#0e1117",
        block_label_text_weight="500",
        block_shadow="none",
        block_shadow_dark="none",
    )


# The head of every page, on `leaderboard.first_view` too.
HEAD_CSS = """
.board-skip { position: absolute; left: -999px; top: 0; z-index: 600; padding: 8px 14px; border-radius: 6px; border: 0;
  background: var(--background-fill-primary, #fff); color: var(--board-link); font: inherit; cursor: pointer; }
.board-skip:focus { left: 0; transition: none; }
#board-head .name { font-size: 2.1rem; font-weight: 750; letter-spacing: -0.02em; margin: 0; line-height: 1.15; }
#board-head .claim { margin: 10px 0 18px; max-width: 60em; font-size: 1.08rem; line-height: 1.5;
  color: var(--board-quiet); }
#board-head nav { display: flex; gap: 4px; border-bottom: 1px solid var(--border-color-primary); overflow-x: auto;
  scrollbar-width: none; }
#board-head nav a { padding: 9px 16px; text-decoration: none; font-weight: 550; white-space: nowrap;
  color: var(--board-quiet); border-bottom: 3px solid transparent; }
#board-head nav a:hover { color: var(--body-text-color); border-bottom-color: var(--border-color-primary); }
#board-head nav a[aria-current] { color: var(--body-text-color); border-bottom-color: #4c8ed9; }
@media (max-width: 640px) {
  #board-head .name { font-size: 1.5rem; }
  #board-head .claim { font-size: .95rem; line-height: 1.4; margin: 6px 0 10px; }
  #board-head nav a { padding: 8px 10px; }
}
"""

_CSS = """
:root { --board-good: #14713d; --board-bad: #b3261e; --board-quiet: #4d5a69; --board-link: #1b5fa8; }
.dark { --board-good: #5fce8f; --board-bad: #ff8a80; --board-quiet: #aab6c5; --board-link: #7db8f5; }
.gradio-container { width: 100% !important; max-width: 1480px !important; margin: 0 auto !important; }
.gradio-container .nav-holder { display: none; }
html:has(body.dark) { background: #0e1117; }
main.fillable { padding-top: 28px !important; }
.board-filters { gap: 12px; align-items: end; }
.board-line textarea { border: 0 !important; background: none !important; box-shadow: none !important; resize: none;
  padding: 0 2px !important; font-size: 1.06rem; line-height: 1.5; color: var(--body-text-color) !important; }
.board-line, .board-line label, .board-line .input-container { background: none !important; border: 0 !important; }
.board-title textarea { font-size: 1.35rem; font-weight: 650; }
.board-quiet textarea { font-size: .88rem; color: var(--board-quiet) !important; }
@supports (field-sizing: content) {
  .board-line textarea { field-sizing: content; height: auto !important; }
}
#leaderboard [role="gridcell"][aria-colindex="1"], #leaderboard .header-table th:first-child {
  position: sticky; left: 0; z-index: 2; background-color: var(--background-fill-primary); }
.board-table * { font-family: var(--font) !important; }
.board-table { font-variant-numeric: tabular-nums; }
#board-detail textarea { font-family: inherit; line-height: 1.5; }
.board-plot { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 12px !important;
  background: none !important; }
.board-panels { overflow-x: auto !important; }
.board-panels .js-plotly-plot, .board-panels .plot-container { min-width: 760px; }
.board-plot text { fill: var(--board-quiet) !important; }
.board-plot .modebar-container { display: none; }
.board-plot .trace { transition: opacity .12s; }
.board-dimmed .scatterlayer .trace:not(.board-lit), .board-dimmed .annotation:not(.board-lit) {
  opacity: .16 !important; }
.board-filters button { font-size: .95rem; font-weight: 550; }
.gradio-container .html-container { padding: 0 2px !important; }
.gradio-container :is(input[type="radio"], input[type="checkbox"]):not(:checked) {
  border-color: var(--board-quiet) !important; }
.gradio-container ::placeholder { color: var(--board-quiet) !important; opacity: 1; }
#run-command textarea { font-family: var(--font-mono); font-size: .85rem; }
:is(a, button, input, textarea, [role="tab"], [role="gridcell"]):focus-visible { outline: 2px solid #4c8ed9 !important;
  outline-offset: 1px; }
#board-paging { flex-wrap: nowrap; align-items: center; }
#board-paging > .board-line { min-width: 0 !important; flex: 1 1 0 !important; }
#board-paging > button { min-width: 76px !important; flex: 0 0 auto; white-space: nowrap; }
.board-links { display: flex; gap: 4px 10px; flex-wrap: wrap; align-items: baseline; margin: 2px 0 6px;
  font-size: .9rem; color: var(--board-quiet); }
.board-links a, .board-links button { color: var(--board-link); text-decoration: underline; background: none; border: 0;
  padding: 4px 2px; font: inherit; cursor: pointer; }
.board-filters .secondary-wrap input { text-overflow: ellipsis; padding-right: 12px !important; }
.board-chips { border: 0 !important; background: none !important; padding: 0 !important; }
.board-chips .wrap { gap: 8px; }
.board-chips label { border-radius: 999px !important; padding: 3px 12px !important; cursor: pointer;
  background: var(--block-background-fill) !important; border: 1px solid var(--border-color-primary) !important;
  color: var(--body-text-color) !important; }
.board-chips label::after { content: "✕"; margin-left: 8px; color: var(--board-quiet); }
.board-chips label:hover { border-color: #4c8ed9 !important; }
.board-chips label:focus-within { outline: 2px solid #4c8ed9; outline-offset: 1px; }
.board-chips input { position: absolute; opacity: 0; width: 1px; height: 1px; }
footer .divider { display: none !important; }
@media (max-width: 640px) {
  main.fillable { padding: 16px 12px !important; }
  .board-filters > .form { flex-wrap: nowrap !important; overflow-x: auto !important; min-width: 0 !important; }
  .board-filters > .form > * { flex: 0 0 auto !important; min-width: 130px !important; width: auto !important; }
  .board-filters .form .wrap { flex-wrap: nowrap !important; }
  .board-plot { overflow-x: auto !important; }
  #curves .js-plotly-plot, #curves .plot-container { min-width: 600px; }
  #tradeoffs .js-plotly-plot, #tradeoffs .plot-container { min-width: 640px; }
  #differences .js-plotly-plot, #differences .plot-container { min-width: 560px; }
}
"""

# Pages are apart; the links between them keep the query, so a choice made on one page holds on the next.
_HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<script>
document.addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest("a[data-page]");
  if (link) link.href = link.dataset.page + location.search;
}, true);
document.addEventListener("click", async (event) => {
  const copy = event.target.closest && event.target.closest("[data-copy-link]");
  if (copy) {
    await navigator.clipboard.writeText(location.href);
    copy.textContent = "Link copied";
    setTimeout(() => { copy.textContent = "Copy link to this view"; }, 2000);
  }
  if (event.target.closest && event.target.closest("[data-skip]")) {
    const place = document.querySelector("gradio-app .board-table [role=gridcell], gradio-app .board-plot");
    if (place) { place.tabIndex = -1; place.focus(); place.scrollIntoView({ block: "center" }); }
  }
  const save = event.target.closest && event.target.closest("[data-figure]");
  if (save) window.boardSave(save.dataset.figure, save.dataset.format);
});
// A line that is pointed at, and its name, stay; the others fade.
document.addEventListener("pointerover", (event) => {
  const plot = event.target.closest && event.target.closest(".js-plotly-plot");
  if (!plot || plot.dataset.lit || !plot.on) return;
  plot.dataset.lit = "yes";
  plot.on("plotly_hover", ({ points }) => {
    const of = (trace) => trace.legendgroup || trace.name, all = plot._fullData || [];
    const group = of(all[points[0].curveNumber] || {}), word = (group || "").split(",")[0];
    const lit = all.filter((trace) => of(trace) === group).map((trace) => "trace" + trace.uid);
    if (lit.length < 1 || all.length < 4 || !group) return;
    plot.querySelectorAll(".scatterlayer .trace").forEach((e) =>
      e.classList.toggle("board-lit", lit.some((name) => e.classList.contains(name))));
    plot.querySelectorAll(".annotation").forEach((e) =>
      e.classList.toggle("board-lit", e.textContent.trim().slice(2) === word || !e.querySelector("path")));
    plot.classList.add("board-dimmed");
  });
  plot.on("plotly_unhover", () => plot.classList.remove("board-dimmed"));
});
// A column's header explains itself, in the words of the glossary.
const boardExplain = (event) => {
  const head = event.target.closest && event.target.closest("th");
  const words = head && (window.boardGlossary || {})[(head.innerText || "").trim().split("\\n")[0].toLowerCase()];
  if (words) head.title = words;
};
document.addEventListener("pointerover", boardExplain);
document.addEventListener("focusin", boardExplain);
window.boardSave = (id, format) => {
  const plot = document.querySelector(`#${id} .js-plotly-plot`);
  if (!plot) return;
  const { width, height } = plot.getBoundingClientRect();
  const space = "http://www.w3.org/2000/svg";
  const whole = document.createElementNS(space, "svg");
  whole.setAttribute("xmlns", space);
  whole.setAttribute("width", width);
  whole.setAttribute("height", height);
  whole.setAttribute("viewBox", `0 0 ${width} ${height}`);
  plot.querySelectorAll(".main-svg").forEach((part) => whole.append(...part.cloneNode(true).childNodes));
  whole.querySelectorAll("text").forEach((text) => { text.style.fill = "#4d5a69"; });
  const download = (url) => {
    const link = document.createElement("a");
    link.href = url;
    link.download = `palimpsest-${id}.${format}`;
    link.click();
  };
  const source = new Blob([new XMLSerializer().serializeToString(whole)], { type: "image/svg+xml" });
  if (format === "svg") { download(URL.createObjectURL(source)); return; }
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = 2 * width; canvas.height = 2 * height;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    download(canvas.toDataURL("image/png"));
  };
  image.src = URL.createObjectURL(source);
};
window.boardWrite = (names, query, push) => {
  const all = new URLSearchParams(location.search);
  names.forEach((name) => all.delete(name));
  new URLSearchParams(query).forEach((value, name) => all.append(name, value));
  const text = all.toString();
  const address = location.pathname + (text ? "?" + text : "") + location.hash;
  if (address === location.pathname + location.search + location.hash) return;
  if (push) history.pushState({ board: true }, "", address);
  else history.replaceState(history.state, "", address);
};
window.addEventListener("popstate", () => location.reload());
window.boardLinks = (id, text) => {
  const place = document.querySelector(`#${id} .board-links`);
  if (!place) return;
  const [title, ...links] = JSON.parse(text || "[]");
  if (!title) { place.textContent = place.dataset.hint || ""; return; }
  place.replaceChildren(document.createTextNode(title));
  links.forEach(([name, page, query]) => {
    const link = document.createElement("a");
    link.textContent = name;
    link.href = "./" + encodeURIComponent(page) + "?" + query;
    place.append(link);
  });
};
</script>
"""
CSS, HEAD = HEAD_CSS + _CSS, tooltips.script() + _HEAD


def write_query(names: tuple[str, ...], push: bool = False) -> str:
    """JavaScript of an event whose one input is a query string: it replaces these parameters in the address.

    push: the view before is one step back; going back loads it again.
    """
    return f"(query) => {{ window.boardWrite({list(names)!r}, query, {str(push).lower()}); }}"


def show_links(place: str) -> str:
    """JavaScript of an event whose one input is the JSON of `pages.common.links`: shown in the element of that id."""
    return f"(text) => {{ window.boardLinks({place!r}, text); }}"


def show_answer(place: str) -> str:
    """As `show_links`, and scrolls to the whole answer when there is one."""
    scroll = "document.querySelector('#board-detail').scrollIntoView({block: 'nearest', behavior: 'smooth'})"
    return f"(text) => {{ window.boardLinks({place!r}, text); if (text) {scroll}; }}"
