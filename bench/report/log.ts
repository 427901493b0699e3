/** Reports the progress of the run on stderr. */
export const log = (line: string): void => {
  process.stderr.write(`${line}\n`);
};
