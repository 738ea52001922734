// What a widget's JavaScript sees of its model where there is no kernel: stored values, and nobody to save changes to.

export class StoredModel {
  constructor(state) {
    this.state = { ...state };
    this.listeners = new Map();
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    for (const event of [`change:${name}`, "change"]) {
      for (const listener of this.listeners.get(event) ?? []) listener(this, value);
    }
  }

  save_changes() {}

  on(event, listener) {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
  }

  off(event, listener) {
    const kept = (this.listeners.get(event) ?? []).filter((other) => listener && other !== listener);
    this.listeners.set(event, kept);
  }
}
