import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'

import type { Choices } from './choices.ts'
import { applicationManifest, compilerOptions, firstNode } from './manifest.ts'
import { keepBlocks, toJavaScript, toTypeScript, type TemplateFacts } from './render.ts'

/** Templates by the path that they are written to, without the ending of sources. */
const sources: Readonly<Record<string, string>> = {
  'tenancy.config': 'tenancy.config.js',
  'migrations/001_projects_and_tasks': 'migration.js',
  'src/app': 'app.js',
  'src/projects': 'projects.js',
  'src/schema': 'schema.ts',
  'src/server': 'server.js',
  'src/dev': 'dev.js',
  'src/set-up': 'set-up.js',
  'test/fresh-app': 'fresh-app.js',
  'test/isolation.test': 'isolation-test.js'
}

// npm leaves a file named .gitignore out of a package.
const others: Readonly<Record<string, string>> = {
  'README.md': 'readme.md',
  'Dockerfile': 'dockerfile',
  'compose.yaml': 'compose.yaml',
  '.dockerignore': 'dockerignore',
  '.gitignore': 'gitignore',
  '.env': 'environment'
}

const limits = {
  default: { rpm: 100 },
  anonymous: { rpm: 300 },
  plans: { free: { rpm: 60 }, pro: { rpm: 600 } }
}

/** Returns the files of a new application: content by path, in the order in which they are written. */
export async function applicationFiles (choices: Choices): Promise<Map<string, string>> {
  const { language } = choices
  const files = new Map([
    ['package.json', json(applicationManifest(choices))],
    ...(language === 'ts' ? [['tsconfig.json', json({ compilerOptions })] as const] : []),
    ['limits.json', json(limits)]
  ])
  const facts = factsOf(choices)
  const toLanguage = language === 'ts' ? toTypeScript : toJavaScript
  for (const [path, template] of Object.entries(sources)) {
    // JavaScript has no types of tables.
    if (language === 'js' && path === 'src/schema') continue
    files.set(`${path}.${language}`, `${toLanguage(await render(template, choices, facts)).trim()}\n`)
  }
  for (const [path, template] of Object.entries(others))
    files.set(path, await render(template, choices, facts))
  return files
}

async function render (
  template: string,
  { name, strategy, language }: Choices,
  facts: TemplateFacts
): Promise<string> {
  const text = await readFile(new URL(`../template/${template}`, import.meta.url), 'utf8')
  return keepBlocks(text, facts)
    .replaceAll('{{name}}', name)
    .replaceAll('{{strategy}}', strategy)
    .replaceAll('{{language}}', language)
    .replaceAll('{{node}}', firstNode[language])
    .replaceAll('{{random}}', () => randomBytes(24).toString('hex'))
}

function factsOf ({ strategy, database, redis, language }: Choices): TemplateFacts {
  return {
    rls: strategy === 'rls',
    row: strategy === 'row',
    schema: strategy === 'schema',
    database: strategy === 'database',
    // Whether tenants share their tables.
    shared: strategy === 'rls' || strategy === 'row',
    postgres: database === 'postgres',
    redis,
    ts: language === 'ts'
  }
}

function json (value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
