/** A fault of the cluster or of the machine: shown as its message without a stack trace by `make kube-up`. */
export class ClusterError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ClusterError';
  }
}
