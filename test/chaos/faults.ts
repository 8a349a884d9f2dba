// How each fault of the plan is done.
import { killBackends } from '@fastify-tenancy/testing'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

import { until } from '../support/until.ts'
import type { Kind, Step } from './plan.ts'
import type { Processes } from './processes.ts'
import type { Recorder } from './recorder.ts'
import { onRedis, processCount, roles, type Links, type World } from './world.ts'

export interface Scene {
  readonly world: World
  readonly processes: Processes
  readonly recorder: Recorder
}

type Deed = (scene: Scene, step: Step) => Promise<void>

/** How long a call of the manager is repeated while servers are away. */
const insistMs = 180_000

/** Repeats what a fault interrupted, as an operator does. */
async function insist<T> (work: () => Promise<T>): Promise<T> {
  for (const deadline = Date.now() + insistMs;;) {
    try {
      return await work()
    } catch (error) {
      if (Date.now() > deadline) throw error
      await pause(200)
    }
  }
}

/** A fault of all processes. */
const everywhere = (work: (world: World, step: Step) => Promise<void>): Deed => ({ world, recorder }, step) =>
  recorder.fault({ kind: step.kind }, () => work(world, step))

/** A fault of one process. */
const inOne = (work: (scene: Scene, step: Step) => Promise<void>): Deed => (scene, step) =>
  scene.recorder.fault({ kind: step.kind, process: step.process }, () => work(scene, step))

/** Resets the connections of one process to a server. */
const cut = (server: keyof Links): Deed =>
  inOne(async ({ world }, { process }) => {
    for (const proxy of world.links[process]?.[server] ?? []) proxy.cut()
  })

/** Loses all bytes between one process and a server. In the end the connections are reset. */
const drop = (server: keyof Links): Deed =>
  inOne(async ({ world }, { process, holdMs }) => {
    const proxies = world.links[process]?.[server] ?? []
    for (const proxy of proxies) proxy.blackHole()
    await pause(holdMs)
    for (const proxy of proxies) {
      proxy.cut()
      proxy.restore()
    }
  })

/** Freezes the master of the limited tenant's counters until its replica has taken over. */
async function failOver (world: World, { holdMs }: Step): Promise<void> {
  const masters: string[] = []
  await onRedis(world, async client => {
    if ((await client.role())[0] === 'master') masters.push(`${client.options.port}`)
  })
  const victim = world.cluster?.nodes.find(({ port }) => masters.includes(`${port}`))
  if (victim === undefined) throw new Error('the cluster has no master')
  victim.process.kill('SIGSTOP')
  try {
    const rest = world.cluster?.nodes.filter(node => node !== victim) ?? []
    await until(async () => {
      const roles = await onRedis(
        { ...world, cluster: { ...world.cluster, nodes: rest } as never },
        async client => (await client.role())[0]
      )
      return roles.filter(role => role === 'master').length === masters.length
    }, 15_000)
    await pause(holdMs)
  } finally {
    victim.process.kill('SIGCONT')
  }
}

async function restart ({ processes }: Scene, process: number, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const code = await processes.end(process, signal)
  if (signal === 'SIGTERM' && code !== 0)
    processes.deaths.push(`SIGTERM: process ${process} ended with ${code}`)
  // A process that starts while its servers are away ends, and is started again.
  await insist(() => processes.restart(process))
}

/** Accepts a new secret beside the old one. Each process gets it at its next start. */
async function addSecret ({ world }: Scene): Promise<void> {
  world.secrets = [randomBytes(24).toString('hex'), world.secrets[0] ?? '']
  await insist(() => world.manager().init({ url: world.superUrl, tenantRoles: true }))
}

/** Gives every process the new secret alone, and ends the old one. */
async function dropSecret (scene: Scene, step: Step): Promise<void> {
  const { world, recorder } = scene
  const roll = async (): Promise<void> => {
    for (let process = 0; process < processCount; process++)
      await recorder.fault({ kind: step.kind, process }, () => restart(scene, process, 'SIGTERM'))
  }
  await roll()
  world.secrets = world.secrets.slice(0, 1)
  await roll()
  await insist(() => world.manager().init({ url: world.superUrl, tenantRoles: true, dropOldSecrets: 'now' }))
}

async function suspend ({ world, recorder }: Scene, { holdMs }: Step): Promise<void> {
  const tenant = roles.suspended
  const ref = { id: `id-${tenant}` }
  await recorder.change({ kind: 'suspend', tenant }, () => insist(() => world.manager().suspend(ref)))
  await pause(holdMs)
  await recorder.change({ kind: 'resume', tenant }, () => insist(() => world.manager().resume(ref)))
}

async function rename ({ world, recorder }: Scene): Promise<void> {
  const tenant = roles.renamed
  const [now = tenant] = world.slugs.get(tenant) ?? []
  const slug = now === tenant ? `${tenant}-two` : tenant
  await recorder.change(
    { kind: 'rename', tenant, slug },
    () => insist(() => world.manager().rename({ id: `id-${tenant}` }, slug))
  )
  world.slugs.set(tenant, [slug, now])
}

async function move ({ world, recorder }: Scene, { kind }: Step): Promise<void> {
  const tenant = roles.moved
  const ref = { id: `id-${tenant}` }
  const from = (await insist(() => world.manager().get(ref)))?.isolation
  const moveOn = () => world.manager().move(ref, { isolation: from === 'rls' ? 'schema' : 'rls' })
  await recorder.fault({ kind, tenant }, async () => {
    await insist(async () => {
      // A call whose answer was lost may have moved it.
      if ((await world.manager().get(ref))?.isolation !== from) return
      await moveOn()
    })
    // A move that was interrupted behind its switch is finished by the same call.
    await insist(() =>
      world.manager().confirmMove(ref).catch(async () => {
        await moveOn()
        await world.manager().confirmMove(ref)
      })
    )
  })
}

const deeds: Readonly<Record<Kind, Deed>> = {
  'kill backends': everywhere(async ({ superUrl }) => {
    await killBackends(superUrl).catch(() => {}) // the server is away at the moment
  }),
  'restart postgres': everywhere(async ({ postgres }, { holdMs }) => {
    await postgres.crash()
    await pause(holdMs)
    await postgres.start()
  }),
  'cut postgres': cut('postgres'),
  'drop postgres': drop('postgres'),
  'freeze redis': everywhere(async ({ redis }, { holdMs }) => {
    redis?.process.kill('SIGSTOP')
    await pause(holdMs)
    redis?.process.kill('SIGCONT')
  }),
  'restart redis': everywhere(world => world.restartRedis()),
  'cut redis': cut('redis'),
  'drop redis': drop('redis'),
  failover: everywhere(failOver),
  pause: inOne(async ({ processes }, { process, holdMs }) => {
    const go = processes.freeze(process)
    await pause(holdMs)
    go()
  }),
  kill: inOne((scene, { process }) => restart(scene, process, 'SIGKILL')),
  terminate: inOne((scene, { process }) => restart(scene, process, 'SIGTERM')),
  rotate: (scene, step) => scene.world.secrets.length === 1 ? addSecret(scene) : dropSecret(scene, step),
  suspend,
  rename,
  move,
  'break limits': everywhere(async (world, { holdMs }) => {
    writeFileSync(world.limitsPath, '{ "default": { "rpm":')
    await pause(holdMs)
    world.restoreLimits()
  })
}

/** Runs the steps of a list one after the other. */
export async function runSteps (scene: Scene, steps: readonly Step[]): Promise<void> {
  for (const step of steps) {
    await pause(step.afterMs)
    await deeds[step.kind](scene, step)
  }
}
