// Every test covers the sources of the packages, and nothing else counts: neither tests nor these
// scripts.
export default () => ['packages/*/src/**/*.ts']
