/** A run as Markdown: a table per case, then the targets with their verdicts, then what makes the run unfit, if anything does. */
import type { Metric } from './cases/case.ts';
import { valuesOf, type CaseResult, type RunResult } from './results.ts';
import { pairedRatios, summarize } from './statistics.ts';
import { judge, TARGETS, type Verdict } from './targets.ts';

const NOTHING = '–';

export function renderReport(run: RunResult): string {
  return [
    renderHead(run),
    ...run.cases.map(renderCase),
    renderTargets(TARGETS.map((target) => judge(target, run.cases))),
    renderNotes(run.notes),
    renderProblems(run.problems),
  ].join('\n');
}

/** Columns padded to one width each, so that the table reads as well in a terminal as on a page. The first is text, the others figures. */
export function renderTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) => Math.max(3, title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join(' | ')} |\n`;
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|\n`;
  return line(header) + rule + rows.map(line).join('');
}

/** Median, and in brackets the range of the rounds when there was more than one. */
export function renderFigure(values: readonly number[], digits: number): string {
  if (values.length === 0) return NOTHING;
  const { median, min, max } = summarize(values);
  const range = values.length > 1 ? ` (${min.toFixed(digits)}–${max.toFixed(digits)})` : '';
  return median.toFixed(digits) + range;
}

function renderHead(run: RunResult): string {
  const pairs = { ...run.machine, ...run.versions, ...run.options };
  const list = Object.entries(pairs).map(([name, value]) => `${name} ${value}`).join(' · ');
  return `# Orlop against its peers, ${run.startedAt}\n\n${list}\n\nEach figure is the median of the rounds, (lowest–highest) in brackets; ratios are taken round by round.\n`;
}

function renderCase(result: CaseResult): string {
  const compared = result.metrics.find((metric) => metric.compared === true);
  const baselines = compared === undefined ? [] : result.baselines.filter((name) => valuesOf([result], result.key, name, compared.key).length > 0);
  const header = ['', ...result.metrics.map((metric) => metric.label), ...baselines.map((name) => `${compared?.label ?? ''} ÷ ${name}`)];
  const rows = result.rows.map(({ peer }) => {
    const values = (metric: Metric, of: string): number[] => valuesOf([result], result.key, of, metric.key);
    const figures = result.metrics.map((metric) => renderFigure(values(metric, peer), metric.digits));
    const ratios = baselines.map((name) => renderFigure(pairedRatios(values(compared!, peer), values(compared!, name)), 2));
    return [peer, ...figures, ...ratios];
  });
  return `## ${result.title}\n\n${renderTable(header, rows)}`;
}

function renderTargets(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(({ target, measured, word, remark }) => {
    const digits = target.unit === '×' ? 2 : 0;
    const shown = measured === undefined ? NOTHING : `${measured.median.toFixed(digits)}${target.unit}`;
    const range = measured === undefined ? NOTHING : `${measured.min.toFixed(digits)}–${measured.max.toFixed(digits)}`;
    return [target.text, `≤ ${String(target.limit)}${target.unit}`, shown, range, remark === '' ? word : `${word}, ${remark}`];
  });
  return `## Targets\n\n${renderTable(['Orlop', 'target', 'measured', 'range', 'verdict'], rows)}`;
}

function renderNotes(notes: Readonly<Record<string, string>>): string {
  const lines = Object.entries(notes).map(([peer, note]) => `- ${peer}: ${note}\n`).join('');
  return `## Conditions\n\n${lines}`;
}

function renderProblems(problems: readonly string[]): string {
  if (problems.length === 0) return '';
  return `## THIS RUN IS INVALID\n\n${problems.map((problem) => `- ${problem.replaceAll('\n', '\n  ')}\n`).join('')}`;
}
