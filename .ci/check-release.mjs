/**
 * Refuses a publish that is not ready: an address of the repository that is not filled in, a version without an entry in
 * the changelog, or a tag of another version. Runs before each `npm publish`.
 *
 * The field `repository` of package.json is the one place for the address. npm compares it with the workflow that
 * publishes, shows it on the package's page, and makes links of the README's pictures with it.
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
