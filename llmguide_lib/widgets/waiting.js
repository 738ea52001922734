// Whether the worker owes an answer: heard only when that lasts longer than a moment, and unheard as late, so that a sign
// of it does not flicker.

const MOMENT_MS = 150;

// connection.js' `ask`, of which show(true or false) hears whether answers are awaited. A job that tells how far it is
// shows that itself, and is awaited only until it tells something.
export function awaited(ask, show) {
  let [open, timer] = [0, null];
  const count = (more) => {
    const before = open > 0;
    open += more;
    if (before === open > 0) return;
    clearTimeout(timer);
    timer = setTimeout(() => show(open > 0), MOMENT_MS);
  };
  return (job, request, tell = () => {}) => {
    let due = true;
    const heard = () => {
      if (due) count(-1);
      due = false;
    };
    count(1);
    const { id, result } = ask(job, request, (answer) => {
      heard();
      tell(answer);
    });
    result.then(heard, heard);
    return { id, result };
  };
}
