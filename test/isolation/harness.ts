// Drives one implementation of tenant handles the way a busy server does, and looks for others'
// values in all that it answers.
import assert from 'node:assert/strict'

import { assertOwn, tagged } from '@fastify-tenancy/testing'

/**
 * What one request of a tenant can do with `projects (tenant_id, name)`, whose rows the harness
 * finds as {@link tags} made them. A handle knows its tenant: nothing here names one. A new one is
 * made for each request.
 */
export interface IsolationHandle {
  /** The names of all rows that it can see. */
  list(): Promise<string[]>
  /** Renames the rows of this name; the rows' new names. */
  rename(from: string, to: string): Promise<string[]>
  /** Deletes the rows of this name; the names of what was deleted. */
  remove(name: string): Promise<string[]>
  /** Sends a statement that the database refuses, such as `select 1 / 0`. */
  fail(): Promise<unknown>
}

/** The tenants of the harness, and how many rows each must own before it runs. */
export const tenants: readonly string[] = ['acme', 'globex', 'initech']
export const rowsEach = 20

/** The names of a tenant's rows: `acme:1` to `acme:20`. */
export function tags (tenant: string): string[] {
  return Array.from({ length: rowsEach }, (_, n) => tagged(tenant, n + 1))
}

/**
 * Runs every scene. All rows are as before when it resolves.
 *
 * @param makeHandle called once for each simulated request.
 * @throws AssertionError at the first value of another tenant, and when a tenant does not see all
 * of its own.
 */
export async function runIsolationHarness (makeHandle: (tenant: string) => IsolationHandle): Promise<void> {
  for (const [scene, run] of Object.entries(scenes)) {
    await run(async tenant => seesItsOwn(makeHandle(tenant), tenant, scene), makeHandle)
    for (const tenant of tenants) await seesItsOwn(makeHandle(tenant), tenant, `${scene}, afterwards`)
  }
}

type Look = (tenant: string) => Promise<void>

const scenes: Record<string, (look: Look, makeHandle: (tenant: string) => IsolationHandle) => Promise<void>> =
  {
    async 'one after the other' (look) {
      for (let round = 0; round < 5; round++) for (const tenant of tenants) await look(tenant)
    },

    async 'all at once' (look) {
      await everyone(20, look)
    },

    async 'many at once on one handle' (look, makeHandle) {
      await everyone(1, async tenant => {
        const handle = makeHandle(tenant)
        await Promise.all(
          Array.from({ length: 20 }, () => seesItsOwn(handle, tenant, 'many at once on one handle'))
        )
      })
    },

    async 'after an error of another tenant' (look, makeHandle) {
      await everyone(5, async tenant => {
        await assert.rejects(makeHandle(tenant).fail(), 'control: the failing statement fails')
        await look(tenants[(tenants.indexOf(tenant) + 1) % tenants.length] ?? '')
      })
    },

    async 'writing to the rows of others' (_look, makeHandle) {
      for (const tenant of tenants) {
        for (const other of tenants.filter(name => name !== tenant)) {
          const handle = makeHandle(tenant)
          assert.deepEqual(
            await handle.rename(tagged(other, 1), tagged(tenant, 'stolen')),
            [],
            `${tenant} renamed a row of ${other}`
          )
          assert.deepEqual(await handle.remove(tagged(other, 2)), [], `${tenant} deleted a row of ${other}`)
        }
      }
    },

    async 'writing to own rows of one name while others do' (_look, makeHandle) {
      await everyone(1, async tenant => {
        const handle = makeHandle(tenant)
        assert.deepEqual(await handle.rename(tagged(tenant, 1), tagged(tenant, 'renamed')), [
          tagged(tenant, 'renamed')
        ])
        assert.deepEqual(await handle.rename(tagged(tenant, 'renamed'), tagged(tenant, 1)), [
          tagged(tenant, 1)
        ])
      })
    }
  }

async function everyone (times: number, work: (tenant: string) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: times }, () => tenants).flat().map(work))
}

async function seesItsOwn (handle: IsolationHandle, tenant: string, scene: string): Promise<void> {
  const names = await handle.list()
  assertOwn(names, { tenant, tenants, where: scene })
  assert.deepEqual(
    names.toSorted(),
    tags(tenant).toSorted(),
    `${tenant} must see all of its own rows: ${scene}`
  )
}
