/** A logger that remembers what it was told. */
import type { Logger } from '../../src/core/log.ts';

export class RecordedLog implements Logger {
  level = 'info';
  /** `warn the message`, without the fields. */
  readonly lines: string[] = [];
  /** Everything, fields included. */
  text = '';

  readonly debug = this.#writer('debug');
  readonly info = this.#writer('info');
  readonly warn = this.#writer('warn');
  readonly error = this.#writer('error');

  #writer(level: string): Logger['info'] {
    return (fields, message) => {
      this.lines.push(`${level} ${message ?? JSON.stringify(fields)}`);
      this.text += `${level} ${JSON.stringify(fields)} ${message ?? ''}\n`;
    };
  }
}
