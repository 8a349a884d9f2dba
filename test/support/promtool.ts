// Prometheus' own evaluation of queries and alert rules, without a server.
import { spawnSync } from 'node:child_process'

/** Why tests of PromQL are skipped; false where promtool is installed. */
export const noPromtool: string | false = spawnSync('promtool', ['--version']).status !== 0 &&
  'needs promtool on PATH (Debian: apt-get install prometheus)'

/** Runs `promtool test rules` on a file. Returns what it printed, empty if every expectation holds. */
export function testRules (file: string): string {
  const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', file], { encoding: 'utf8' })
  return status === 0 ? '' : `${stdout}${stderr}`
}
