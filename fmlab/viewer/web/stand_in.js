/** In place of anywidget's model, in a page without a kernel: the same get, set, on. */
function standIn(state) {
  const heard = {};
  return {
    get: (name) => state[name],
    set: (name, value) => ((state[name] = value), (heard["change:" + name] ?? []).forEach((call) => call())),
    on: (name, call) => (heard[name] ??= []).push(call),
    off: () => {},
    send: () => {},
    save_changes: () => {},
  };
}
