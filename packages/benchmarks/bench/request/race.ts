/*
 * Issue 20: the whole request against hand-written code. `npm run bench:request -- [far] [loopback]
 * [tenants=1,100,10000] [connections=1,16,64] [only=<part of a name>,…] [--profile] [--save]`
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Profiler } from 'node:inspector/promises'

import { startRedis } from '../../../../test/support/services.ts'
import { far } from '../../src/far.ts'
import { bars, savePlot } from '../../src/plot.ts'
import { race, type Contender, type Race, type Sample } from '../../src/race.ts'
import { markdown, report, markdownTable, type BenchTarget } from '../../src/report.ts'
import type { Answered, Load } from '../http/load.ts'
import { byPackage } from './by-package.ts'
import { contenders, type Places } from './contenders.ts'
import { startGrounds, type Ground } from './ground.ts'

const given = process.argv.slice(2).filter(argument => !argument.startsWith('--'))
const listOf = (name: string, otherwise: string): string[] =>
  (given.find(argument => argument.startsWith(`${name}=`))?.slice(name.length + 1) ?? otherwise).split(',')
const networks = ['far', 'loopback'].filter(name => given.includes(name) || !given.some(isNetwork))
const tenantCounts = listOf('tenants', '100').map(Number)
const connectionCounts = listOf('connections', '16').map(Number)
const only = listOf('only', '')
const names = Object.keys(contenders).filter((name, at) => at < 2 || only.some(part => name.includes(part)))
const baseline = 'Kysely by hand'
/**
 * Requests before the first measurement. With 1,500, a server of more code ran interpreted for much
 * of the race: on loopback the plain suite's CPU was 1.57 of the baseline's instead of 1.34.
 */
const warmUp = 20_000

const grounds = await startGrounds(Math.max(...tenantCounts))
const redis = await startRedis()
const load = fork(join(import.meta.dirname, '../http/load.ts'))
const texts: string[] = []
for (const network of networks) texts.push(...await measure(network))
load.kill()
await Promise.all([grounds.stop(), redis.stop()])
report('request', texts.join('\n\n'))
process.exit()

/** Measures all contenders over one network. */
async function measure (network: string): Promise<string[]> {
  const isFar = network === 'far'
  const proxies = isFar ? [await far(grounds.plain.url), await far(redis.url)] : []
  const [postgresPort, redisPort] = proxies.map(({ port }) => `${port}`)
  const places: Places = {
    plain: suitePlace(grounds.plain, postgresPort),
    signed: suitePlace(grounds.signed, postgresPort),
    hand: via(grounds.plain.handUrl, postgresPort),
    redis: via(redis.url, redisPort)
  }
  const servers = await Promise.all(names.map(name => start(name, places)))
  const results: string[] = []
  for (const tenants of tenantCounts) {
    for (const connections of connectionCounts) {
      const title = `${isFar ? 'At 1 ms' : 'On loopback'}, ${connections} connections, ${tenants} tenants`
      process.stderr.write(`${title}: `)
      const how = { status: 200, connections, pipelining: 1, tenants }
      for (const { server, port } of servers) {
        // On a busy machine the first answers may miss Redis' deadline and fail.
        for (let answered = 0; answered < warmUp;)
          answered += (await slice(server, { ...how, port }))['requests'] ?? 0
        process.stderr.write('.')
      }
      const all = servers.map(({ name, server, port }): Contender => ({
        name,
        async run () {
          const { failed, ...sample } = await slice(server, { ...how, port })
          if (failed !== 0) throw new Error(`${name}: ${failed} answers had another status than 200`)
          return sample
        }
      }))
      const result = await race(
        all.find(({ name }) => name === baseline)!,
        all.filter(({ name }) => name !== baseline)
      )
      results.push(`**${title}**\n\n${figures(result, isFar)}`)
      if (connections === 16) savePlot(`request-${network}-${tenants}.svg`, plotOf(result))
      if (process.argv.includes('--profile')) {
        for (const { name, server, port } of servers)
          results.push(await profile(name, server, { ...how, port }))
      }
    }
  }
  for (const { server } of servers) {
    server.kill()
    await once(server, 'exit')
  }
  for (const proxy of proxies) proxy.stop()
  return results
}

interface Server {
  readonly name: string
  readonly server: ChildProcess
  readonly port: number
}

async function start (name: string, places: Places): Promise<Server> {
  const env = { ...process.env, NODE_ENV: 'production' }
  const server = fork(join(import.meta.dirname, 'server.ts'), [name, JSON.stringify(places)], { env })
  const [port] = await once(server, 'message') as [number]
  return { name, server, port }
}

async function ask<T> (server: ChildProcess, message: string): Promise<T> {
  server.send(message)
  const [answer] = await once(server, 'message') as [T]
  return answer
}

async function shoot (how: Load): Promise<Answered> {
  load.send(how)
  const [answered] = await once(load, 'message') as [Answered]
  return answered
}

async function slice (server: ChildProcess, how: Load): Promise<Sample> {
  const [before, serverBefore] = [await ask<NodeJS.CpuUsage>(server, 'cpu'), await grounds.cpu()]
  const { requests, expected, seconds, p50, p99 } = await shoot(how)
  const [after, serverAfter] = [await ask<NodeJS.CpuUsage>(server, 'cpu'), await grounds.cpu()]
  return {
    requests,
    failed: requests - expected,
    perSecond: requests / seconds,
    cpu: (after.user + after.system - before.user - before.system) / requests,
    serverCpu: (serverAfter - serverBefore) / requests,
    p50,
    p99
  }
}

function figures (result: Race, isFar: boolean): string {
  const perSecond = isFar ? 0.95 : 0.9
  const targets: BenchTarget[] = [
    { name: 'suite, signed', figure: 'cpu', atMost: 1.15 },
    { name: 'suite, signed', figure: 'perSecond', atLeast: perSecond },
    { name: 'suite, plain', figure: 'cpu', atMost: 1.08 },
    ...(isFar && result.names.includes('the way of the field')
      ? [{ name: 'suite, signed', figure: 'perSecond', atLeast: 1.5, against: 'the way of the field' }]
      : [])
  ]
  return markdownTable(result, [
    { figure: 'perSecond', title: 'requests/s', digits: 0 },
    { figure: 'cpu', title: 'CPU µs', digits: 0 },
    { figure: 'serverCpu', title: 'PostgreSQL CPU µs', digits: 0 },
    { figure: 'p50', title: 'p50 ms' },
    { figure: 'p99', title: 'p99 ms' }
  ], targets)
}

function plotOf (result: Race): string {
  const group = (title: string, figure: string): Parameters<typeof bars>[0][number] => ({
    title,
    bars: names.map(name => {
      const value = name === baseline ? 1 : result.ratio(name, figure).median
      return { name, value, text: value.toFixed(2) }
    })
  })
  return bars([
    group('Requests per second, Kysely by hand = 1', 'perSecond'),
    group('CPU of the process per request, Kysely by hand = 1', 'cpu')
  ])
}

/** Returns the CPU time of one slice by package, in microseconds per request. */
async function profile (name: string, server: ChildProcess, how: Load): Promise<string> {
  await ask(server, 'profile')
  const { requests } = await shoot(how)
  const profile = await ask<Profiler.Profile>(server, 'profiled')
  const file = join(tmpdir(), `request-${name.replaceAll(/\W+/g, '-')}.cpuprofile`)
  writeFileSync(file, JSON.stringify(profile))
  const found = byPackage(profile)
  const rows = found.slice(0, 14).map(([name, micros]) => [name, (micros / requests).toFixed(1)])
  return `*${name}, by package* (${file})\n\n${markdown(['', 'µs a request'], rows)}`
}

function suitePlace ({ url, registryUrl }: Ground, port: string | undefined): Places['plain'] {
  return { url: via(url, port), registryUrl: via(registryUrl, port) }
}

function via (url: string, port: string | undefined): string {
  return port === undefined ? url : Object.assign(new URL(url), { port }).href
}

function isNetwork (argument: string): boolean {
  return argument === 'far' || argument === 'loopback'
}
