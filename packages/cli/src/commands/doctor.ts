import type { DoctorReport } from '@fastify-tenancy/manager'
import type { Command } from 'commander'

import { exitCode, type Runner } from '../run/runner.ts'

interface DoctorFlags {
  readonly probe?: boolean
  readonly baseline?: string
  readonly writeBaseline?: string
}

export function addDoctorCommand (program: Command, runner: Runner): void {
  program.command('doctor').description(
    'look for what could let one tenant see another; fails on findings of level error'
  )
    .option('--probe', "also try the attacks, as the application's own login")
    .option('--baseline <file>', 'pass over the findings of this file')
    .option('--write-baseline <file>', 'write all findings of now into this file, and be done')
    .action(
      runner.action<[], DoctorFlags>(
        async ({ manager, output }, _, { probe = false, baseline, writeBaseline }) => {
          const report = await manager.doctor({
            probe,
            ...(baseline !== undefined && { baseline }),
            ...(writeBaseline !== undefined && { writeBaseline })
          })
          output.result(report, () => shown(report))
          return writeBaseline === undefined && report.findings.some(({ level }) => level === 'error')
            ? exitCode.failed
            : exitCode.done
        }
      )
    )
}

function shown ({ level, reasons, findings, accepted, stale }: DoctorReport): string {
  const count = (wanted: string): number => findings.filter(finding => finding.level === wanted).length
  return [
    ...findings.map(({ id, level, shard, object, meaning, fix }) =>
      [
        `${level.padEnd(7)} ${id}  ${object}${shard === 'default' ? '' : ` on shard ${shard}`}`,
        `        ${meaning}`,
        ...fix.split('\n').map(line => `        ${line}`),
        ''
      ].join('\n')
    ),
    ...stale.map(({ id, object }) => `in the baseline and not found any more: ${id} ${object}`),
    `isolation level L${level}${reasons.length > 0 ? `: ${reasons.join('; ')}` : ''}`,
    `${count('error')} errors, ${count('warning')} warnings, ${count('info')} remarks${
      accepted > 0 ? `, ${accepted} accepted by the baseline` : ''
    }`
  ].join('\n')
}
