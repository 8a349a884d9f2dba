// The command line of `npm create fastify-tenancy`: flags, questions, and folders that it refuses.
import { create, type Terminal } from 'create-fastify-tenancy'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { stripVTControlCharacters } from 'node:util'
import t from 'tap'

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** The keys to type, for each question whose message contains the name. */
type Answers = Readonly<Record<string, string | (() => string)>>

/** Runs one command line, at a terminal if there are answers. */
async function run (
  cwd: string,
  argv: readonly string[],
  { answers, version = 'v24.0.0' }: { answers?: Answers; version?: string } = {}
): Promise<Ended> {
  const isTTY = answers !== undefined
  const stdin = Object.assign(new PassThrough(), { isTTY, setRawMode: () => {} })
  const stdout = Object.assign(new PassThrough(), { isTTY, columns: 80, rows: 40 })
  const stderr = new PassThrough()
  const left = new Map(Object.entries(answers ?? {}))
  stdout.on('data', chunk => {
    for (const [question, keys] of left) {
      if (!String(chunk).includes(question)) continue
      left.delete(question)
      stdin.write(typeof keys === 'function' ? keys() : keys)
    }
  })
  const terminal: Terminal = { stdin, stdout, stderr, cwd: () => cwd, version }
  const output = Promise.all([text(stdout), text(stderr)])
  const code = await create(argv, terminal)
  stdout.end()
  stderr.end()
  const [out, err] = await output
  return { code, out: stripVTControlCharacters(out), err }
}

function filesIn (folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(path => statSync(join(folder, path)).isFile()).toSorted()
}

const enter = '\r'
const down = '\u001B[B'
const every = {
  name: 'Name',
  strategy: 'apart',
  database: 'production',
  redis: 'Redis',
  language: 'Language'
}

t.test('--yes takes the defaults, names each file that it wrote, and the next commands', async t => {
  const folder = t.testdir()
  const { code, out, err } = await run(folder, ['--yes'])
  t.same({ code, err }, { code: 0, err: '' })
  const listed = [...out.matchAll(/^ {2}((?!cd |npm )\S.*)$/gm)].map(([, path]) => path)
  t.same(listed.toSorted(), filesIn(join(folder, 'tenancy-app')))
  t.match(out, /cd tenancy-app\n {2}npm install\n {2}npm run dev .*\n {2}npm test /)
})

t.test('each flag makes its choice', async t => {
  const folder = t.testdir()
  const { code } = await run(folder, ['--name', 'shop', '--strategy', 'schema', '--database', 'pglite',
    '--redis', '--language', 'js'])
  t.equal(code, 0, 'nothing is asked')
  const config = readFileSync(join(folder, 'shop/tenancy.config.js'), 'utf8')
  t.match(config, /isolation: 'schema'/)
  t.match(config, /url: 'pglite:\/\/\.\/data'/)
  t.match(config, /redis: /)
  t.match(JSON.parse(readFileSync(join(folder, 'shop/package.json'), 'utf8')), {
    name: 'shop',
    dependencies: { ioredis: String }
  })
})

t.test('what no flag says is asked for', async t => {
  const folder = t.testdir()
  const { code, out } = await run(folder, ['--strategy', 'row'], {
    answers: {
      [every.name]: `shop${enter}`,
      [every.database]: `${down}${enter}`,
      [every.redis]: `y`,
      [every.language]: `${down}${enter}`
    }
  })
  t.equal(code, 0, out)
  t.notMatch(out, new RegExp(every.strategy))
  t.match(
    readFileSync(join(folder, 'shop/tenancy.config.js'), 'utf8'),
    /isolation: 'row'[^]*'pglite:[^]*redis: /
  )
})

t.test('Enter takes the default of each question', async t => {
  const folder = t.testdir()
  const answers = Object.fromEntries(Object.values(every).map(message => [message, enter]))
  t.equal((await run(folder, [], { answers })).code, 0)
  t.same(filesIn(join(folder, 'tenancy-app')).includes('tenancy.config.ts'), true)
})

t.test('Ctrl-C at a question writes nothing', async t => {
  const folder = t.testdir()
  const { code, err } = await run(folder, ['shop'], { answers: { [every.strategy]: '\u0003' } })
  t.same({ code, err }, { code: 130, err: 'Cancelled. Nothing was written.\n' })
  t.same(readdirSync(folder), [])
})

t.test('wrong flags and names are refused, and nothing is written', async t => {
  const folder = t.testdir()
  for (
    const [argv, message] of [
      [['shop', '--yes', '--stratgy', 'rls'], /unknown option '--stratgy'/],
      [['shop', '--yes', '--strategy', 'hope'],
        /'hope' is invalid. Allowed choices are rls, row, schema, data/],
      [['shop', '--yes', '--database', 'mysql'], /Allowed choices are postgres, pglite/],
      [['shop', '--yes', '--language', 'cobol'], /Allowed choices are ts, js/],
      [['shop', '--yes', '--strategy'], /argument missing/],
      [['shop', 'other', '--yes'], /too many arguments/],
      [['shop', '--name', 'other', '--yes'], /two names are given, 'shop' and --name 'other'/],
      [['../shop', '--yes'], /the name '\.\.\/shop' must begin with/],
      [['Shop', '--yes'], /the name 'Shop' must begin with/],
      [['', '--yes'], /the name '' must begin with/],
      [['node_modules', '--yes'], /cannot have the name 'node_modules'/],
      [['shop'], /there is no terminal to ask at: add --yes/]
    ] as const
  ) {
    const { code, out, err } = await run(folder, argv)
    t.same({ code, out }, { code: 2, out: '' }, argv.join(' '))
    t.match(err, message)
    t.match(err, /^error: /)
  }
  t.same(readdirSync(folder), [])
})

t.test('a folder that is not empty, or is a file, is refused and left as it is', async t => {
  const folder = t.testdir({ full: { '.env': 'mine' }, file: 'mine', empty: {} })
  const full = await run(folder, ['full', '--yes'])
  t.match(full, { code: 1, out: '', err: /full is not empty \(it holds \.env\).*Nothing was written/ })
  t.match(await run(folder, ['file', '--yes']), { code: 1, err: /file is a file: choose another name/ })
  t.same(filesIn(folder), ['file', 'full/.env'])
  t.equal(readFileSync(join(folder, 'full/.env'), 'utf8'), 'mine')
  t.equal((await run(folder, ['empty', '--yes'])).code, 0)
})

t.test('a folder that is not empty is refused before the questions', async t => {
  const folder = t.testdir({ full: { a: '' } })
  const { code, out } = await run(folder, ['full'], { answers: {} })
  t.same({ code, out }, { code: 1, out: '' })
})

t.test('a folder that fills while the questions are asked is refused', async t => {
  const folder = t.testdir()
  const { code, err } = await run(folder, ['--strategy', 'rls', '--database', 'postgres', '--no-redis',
    '--language', 'ts'], {
    answers: {
      [every.name]: () => {
        mkdirSync(join(folder, 'shop'))
        writeFileSync(join(folder, 'shop/mine'), '')
        return `shop${enter}`
      }
    }
  })
  t.equal(code, 1)
  t.match(err, /shop is not empty \(it holds mine\)/)
  t.same(filesIn(join(folder, 'shop')), ['mine'])
})

t.test('an old Node is told which one the application needs', async t => {
  const folder = t.testdir()
  const old = (name: string, ...argv: string[]): Promise<Ended> =>
    run(folder, [name, '--yes', ...argv], { version: 'v22.12.0' })
  t.match((await old('a')).out, /This needs Node 22\.18 or later, and here is v22\.12\.0/)
  t.notMatch((await old('b', '--language', 'js')).out, /This needs Node/)
})

t.test('--help and --version are answers, not errors', async t => {
  const folder = t.testdir()
  const { version } = JSON.parse(readFileSync('packages/create-fastify-tenancy/package.json', 'utf8')) as {
    version: string
  }
  t.match(await run(folder, ['--help']), { code: 0, out: /--strategy <strategy>[^]*--no-redis/ })
  t.match(await run(folder, ['--version']), { code: 0, out: `${version}\n` })
})
