/** The lowest versions that an application can have beside the package. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { minVersion } from 'semver';

const { peerDependencies, peerDependenciesMeta } = JSON.parse(
  readFileSync(resolve(import.meta.dirname, '../../package.json'), 'utf8'),
);

/** Packages that the tests need beside the peers, in versions for each major version of NestJS. The others are as locked. */
const COMPANIONS = {
  11: {
    '@nestjs/apollo': '13.4.5',
    '@nestjs/cache-manager': '3.1.3',
    '@nestjs/config': '4.0.4',
    '@nestjs/jwt': '11.0.2',
    '@nestjs/mercurius': '13.4.5',
    '@nestjs/platform-express': '11.2.8',
    '@nestjs/platform-socket.io': '11.2.6',
    '@nestjs/platform-ws': '11.2.6',
    '@nestjs/testing': '11.2.6',
  },
  12: { '@nestjs/platform-express': '12.1.3' },
};

/** The major versions of NestJS that the package supports. */
export const MAJORS = Object.keys(COMPANIONS);

/** Returns the lowest version of a range. Of two alternatives, the first is for NestJS 11, and the last for NestJS 12. */
const lowestOf = (range, major) => minVersion(range.split('||').at(major === '11' ? 0 : -1)).version;

/** Returns the lowest version of each peer that an application must have, for a major version of NestJS. */
export const lowestRequiredPeers = (major) =>
  Object.fromEntries(
    Object.entries(peerDependencies)
      .filter(([name]) => !peerDependenciesMeta[name]?.optional)
      .map(([name, range]) => [name, lowestOf(range, major)]),
  );

/** Returns the versions for the tests: the lowest of each peer, also of the optional ones, and what fits them. */
export const lowestVersions = (major) => ({
  ...COMPANIONS[major],
  ...Object.fromEntries(Object.entries(peerDependencies).map(([name, range]) => [name, lowestOf(range, major)])),
});
