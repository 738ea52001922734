// The language switch keeps the reader's place: a section has the same anchor in both languages.

const link = document.querySelector(".llm-switch");

// The section that the address names while it is in the window, else the one that the reader is in.
function section() {
  const sections = [...document.querySelectorAll("article section[id]")];
  const top = (element) => element.getBoundingClientRect().top;
  const named = sections.find((element) => `#${element.id}` === location.hash);
  if (named && top(named) >= 0 && top(named) < window.innerHeight) return named;
  return sections.filter((element) => top(element) < window.innerHeight / 3).at(-1);
}

link.addEventListener("click", () => {
  localStorage.setItem("book-lang", link.hreflang.slice(0, 2));
  link.hash = (window.scrollY > 0 && section()?.id) || "";
});
