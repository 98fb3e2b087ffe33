/** A value that changes, and those who follow it. */
export class Watch<T> {
  #value: T;
  readonly #followers = new Set<(value: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get(): T {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    for (const follow of this.#followers) follow(value);
  }

  /** Call `fn` at each change from now on (not for the present value). Returns how to stop. */
  follow(fn: (value: T) => void): () => void {
    this.#followers.add(fn);
    return () => this.#followers.delete(fn);
  }
}
