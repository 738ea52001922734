// What takes several passes through a model: a button that stops it, and the others wait meanwhile.

import { button } from "./dom.js";

// `run(act)` calls act(going), which asks going() between its passes. `buttons` wait while it runs, and the first of
// them gets the keyboard back; `busy` hears when it begins and ends.
export function stoppable(label, buttons, busy) {
  let going = false;
  const stop = button(label, () => (going = false));
  const show = () => {
    const held = stop.matches(":focus");
    stop.hidden = !going;
    for (const one of buttons) one.disabled = going;
    if (going) stop.focus({ preventScroll: true });
    else if (held) buttons[0].focus({ preventScroll: true });
    busy(going);
  };
  const run = async (act) => {
    if (going) return;
    going = true;
    show();
    try {
      await act(() => going);
    } finally {
      going = false;
      show();
    }
  };
  stop.hidden = true;
  return { element: stop, run, end: () => (going = false) };
}
