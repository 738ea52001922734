// Builds and changes elements; knows nothing of any explorer.

const SVG = "http://www.w3.org/2000/svg";

export function node(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  change(element, attributes);
  element.append(...children);
  return element;
}

// Sets attributes; null and false remove one, functions listen to the event of that name.
export function change(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === null || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

// A slider with its label and its value in words; `set` moves it without telling anybody.
export function slider(label, { min, max, step, value, words = String }, tell) {
  const output = node("output");
  const input = node("input", { type: "range", min, max, step });
  const set = (number) => {
    input.value = number;
    output.textContent = words(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  set(value);
  input.addEventListener("input", () => {
    set(Number(input.value));
    tell(Number(input.value));
  });
  const caption = node("span", {}, label);
  return { element: node("label", { class: "llm-field" }, caption, input, output), set, caption };
}

export function choice(label, options, value, tell) {
  const input = node("select", { change: () => tell(input.value) });
  for (const [name, text] of options) input.append(node("option", { value: name }, text));
  input.value = value;
  return { element: node("label", { class: "llm-field" }, node("span", {}, label), input), input };
}

export function checkbox(label, checked, tell) {
  const input = node("input", { type: "checkbox", change: () => tell(input.checked) });
  input.checked = checked;
  return { element: node("label", { class: "llm-check" }, input, label), input };
}

// The box of a text that the explorer stores as `text`; `tell` hears what the reader types.
export function textBox(model, label, rows, tell) {
  const box = node("textarea", { rows, spellcheck: "false", "aria-label": label });
  box.value = model.get("text");
  box.addEventListener("input", () => {
    store(model, { text: box.value });
    tell(box.value);
  });
  return box;
}

// What may be wider than the page scrolls by itself, with the arrow keys too.
export function wide(label, ...children) {
  return node("div", { class: "llm-wide", tabindex: 0, role: "group", "aria-label": label }, ...children);
}

export function button(label, tell) {
  return node("button", { type: "button", click: tell }, label);
}

// Shows what `draw` makes of the model, now and whenever one of the named values changes; returns how to stop.
export function follow(model, names, draw) {
  for (const name of names) model.on(`change:${name}`, draw);
  draw();
  return () => {
    for (const name of names) model.off(`change:${name}`, draw);
  };
}

export function store(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}
