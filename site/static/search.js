// The search: a dialog over the index that pagefind wrote. Opens with the button, Ctrl+K (or Cmd+K) and "/".

const MOST = 8;
const LOOKED_AT = 40; // pages: every chapter may say a word that one of them is about
const dialog = document.getElementById("llm-search");
const input = dialog.querySelector("input");
const status = dialog.querySelector("[role=status]");
const list = dialog.querySelector("ol");
let index; // a promise of pagefind's module, loaded when the dialog first opens

function open() {
  index ??= import(new URL(dialog.dataset.index, location.href));
  dialog.showModal();
  input.select();
}

async function search() {
  const words = input.value.trim();
  try {
    let found = words ? await (await index).debouncedSearch(`"${words}"`, {}, 150) : { results: [] };
    if (found === null) return; // the reader went on typing
    // The words as they stand come first; only if nobody wrote them so, pages with all of them, in any place.
    if (words && !found.results.length) found = await (await index).search(words);
    const pages = await Promise.all(found.results.slice(0, LOOKED_AT).map((result) => result.data()));
    const named = (page) => page.meta.title.toLowerCase().includes(words.toLowerCase());
    pages.sort((one, other) => named(other) - named(one)); // stable: pages that are named so come first
    list.replaceChildren(...pages.slice(0, MOST).flatMap(entries));
    status.textContent = words && !pages.length ? dialog.dataset.none : "";
  } catch (error) {
    status.textContent = dialog.dataset.failed;
    console.warn(error);
  }
}

// A page's best sections, or the page where the words stand before its first heading.
function entries(page) {
  const places = page.sub_results.length ? page.sub_results : [page];
  return places.slice(0, 3).map((place) => {
    const title = place.title && place.title !== page.meta.title ? `${page.meta.title} › ${place.title}` : page.meta.title;
    const link = Object.assign(document.createElement("a"), { href: place.url, textContent: title });
    const excerpt = document.createElement("p");
    // Pagefind escapes the text and marks the words; TeX's \( and \) would only disturb.
    excerpt.innerHTML = place.excerpt.replace(/\\[()[\]]/g, "");
    const item = document.createElement("li");
    item.append(link, excerpt);
    return item;
  });
}

input.addEventListener("input", search);
list.addEventListener("click", (event) => event.target.closest("a") && dialog.close());
dialog.querySelector("button").addEventListener("click", () => dialog.close());
dialog.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault(); // Enter goes to the first place found
  list.querySelector("a")?.click();
});
for (const button of document.querySelectorAll(".llm-search-button")) button.addEventListener("click", open);
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  const asked = (event.ctrlKey || event.metaKey) ? event.key === "k" : event.key === "/" && !typing;
  if (!asked) return;
  event.preventDefault();
  open();
});
