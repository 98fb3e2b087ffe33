/** A mistake of the user of the lab, or of the machine: shown as one line without a stack trace. */
export class LabError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'LabError';
  }
}
