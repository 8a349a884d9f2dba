// Whether the compiler accepts a mutant. One that it refuses never reaches a user.
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import ts from 'typescript'

import { mutated, type Mutant } from './mutants.ts'
import { packageOf } from './targets.ts'

export function compiles (mutant: Mutant): boolean {
  const config = resolve('packages', packageOf(mutant.file), 'tsconfig.json')
  const { config: json } = ts.readConfigFile(config, path => readFileSync(path, 'utf8'))
  const { options } = ts.parseJsonConfigFileContent(json, ts.sys, dirname(config))
  const host = ts.createCompilerHost(options)
  const path = resolve(mutant.file)
  const readFile = host.readFile.bind(host)
  host.readFile = name => resolve(name) === path ? mutated(mutant) : readFile(name)
  const getSourceFile = host.getSourceFile.bind(host)
  host.getSourceFile = (name, ...rest) =>
    resolve(name) === path
      ? ts.createSourceFile(name, mutated(mutant), rest[0])
      : getSourceFile(name, ...rest)
  const program = ts.createProgram(
    [path],
    { ...options, noEmit: true, incremental: false, composite: false },
    host
  )
  const source = program.getSourceFile(path)
  return source !== undefined && program.getSyntacticDiagnostics(source).length === 0 &&
    program.getSemanticDiagnostics(source).length === 0
}
