// The language switch keeps the reader's place: the section at the top of the window has the same anchor over there.

const link = document.querySelector(".llm-switch");

function section() {
  const passed = [...document.querySelectorAll("article section[id]")].filter(
    (element) => element.getBoundingClientRect().top < window.innerHeight / 3,
  );
  return passed.at(-1);
}

link.addEventListener("click", () => {
  localStorage.setItem("book-lang", link.hreflang.slice(0, 2));
  const here = section();
  if (here && window.scrollY > 0) link.hash = here.id;
});
