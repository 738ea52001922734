// Formulas that are wider than the window scroll; the keyboard must reach them too. (The theme sees to code and tables.)

const FORMULAS = 'mjx-container[display="true"]';

function reach() {
  for (const formula of document.querySelectorAll(FORMULAS)) {
    if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
    else formula.removeAttribute("tabindex");
  }
}

window.MathJax?.startup?.promise.then(reach);
window.addEventListener("resize", reach);
