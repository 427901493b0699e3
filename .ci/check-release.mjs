/**
 * Runs before each `npm publish`. Fails if the repository address or the code owner is not filled in, if the changelog has no
 * entry for the version, or if the tag belongs to another version.
 *
 * The field `repository` of package.json is the only place for the address. npm compares it with the repository of the
 * publishing workflow, shows it on the package page, and resolves the image links of the README with it.
 */
import { readFileSync } from 'node:fs';

const read = (name) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8');
const { version, repository } = JSON.parse(read('package.json'));
const [tag] = process.argv.slice(2);

const problems = [
  !repository?.url &&
    'package.json: fill in "repository", as in { "type": "git", "url": "git+https://host/owner/name.git" }',
  !/^\*\s+@/m.test(read('.github/CODEOWNERS')) && '.github/CODEOWNERS: name an owner, as in "* @user"',
  !new RegExp(`^## \\[?${version.replaceAll('.', String.raw`\.`)}\\b`, 'm').test(read('CHANGELOG.md')) &&
    `CHANGELOG.md: rename "Unreleased" to ${version}, with the date`,
  tag !== undefined && tag !== `v${version}` && `the tag is ${tag}, and the version in package.json ${version}`,
].filter(Boolean);

for (const problem of problems) console.error(`Not ready for a release: ${problem}`);
process.exitCode = problems.length > 0 ? 1 : 0;
