import type { Tenant } from '@fastify-tenancy/core'
import { SetupInvalidError, DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import type { LevelReport } from '@fastify-tenancy/postgres/doctor'
import type pg from 'pg'

import { rlsContext } from '../context/tenant-context.ts'
import type { Judge } from '../harmless/judge.ts'
import { JudgingCompiler } from '../harmless/judging-compiler.ts'
import type { ResolvedDatabaseOptions } from '../options/options.ts'
import { ConnectionBudget } from '../pools/budget.ts'
import { TenantPoolCache } from '../pools/tenant-databases.ts'
import { isolationOf } from './isolation-of.ts'
import { bootProblem, isUnreachable, LateShards, type LateShardSettings } from './late-shards.ts'
import { Shard, replyMarginMs } from './shard.ts'
import type { TenantRoute } from './tenant-route.ts'

/** Routes each tenant's statements by its strategy and its shard. */
export class TenantRouter {
  /** The shard of `database.url`. */
  readonly default: Shard
  /** Counts the connections of all pools. */
  readonly budget: ConnectionBudget
  readonly #options: ResolvedDatabaseOptions
  readonly #shards: ReadonlyMap<string, Shard>
  readonly #databases: TenantPoolCache | undefined
  readonly #late: LateShards

  constructor (options: ResolvedDatabaseOptions, late: LateShardSettings) {
    const { budget: { connections, whenFull }, fairness: { maxWait }, ...database } = options.database
    const budget = new ConnectionBudget({ connections, whenFull, maxWait })
    this.#options = options
    this.budget = budget
    this.#late = new LateShards(late)
    this.default = new Shard(database, options, budget, true)
    this.#shards = new Map([
      ['default', this.default],
      ...Object.entries(database.shards).map(([name, shard]) =>
        [name, new Shard(shard, options, budget, false)] as const
      )
    ])
    this.#databases = database.tenants && new TenantPoolCache(options, database.tenants, {
      budget,
      extensions: () => this.default.extensions(options.tables.schema)
    })
  }

  /**
   * Checks every shard. The level is the lowest of all shards, and its reasons name the shard. A
   * shard that cannot be reached is checked later, except for the default shard, which holds the
   * registry.
   */
  async boot (): Promise<LevelReport> {
    const away: string[] = []
    const reached = await Promise.all(Array.from(this.#shards, async ([name, shard]) => {
      try {
        return { ...await shard.boot(), name }
      } catch (error) {
        const problem = bootProblem(name, shard, error)
        if (name === 'default' || !isUnreachable(error)) throw problem
        this.#late.add(name, shard, problem)
        away.push(
          `${problem.message}; its tenants are refused with 503 until it answers and passes its checks`
        )
        return undefined
      }
    }))
    const reports = reached.filter(report => report !== undefined)
    const level = reports.map(report => report.level).toSorted()[0] ?? 0
    return {
      level,
      reasons: reports.filter(report => report.level === level).flatMap(({ name, reasons }) =>
        reasons.map(text => told(name, text))
      ),
      warnings: [...away,
        ...reports.flatMap(({ name, warnings = [] }) => warnings.map(text => told(name, text)))],
      findings: reports.flatMap(({ name, findings = [] }) =>
        findings.map(finding => ({ ...finding, object: told(name, finding.object) }))
      )
    }
  }

  /**
   * Returns the route of a tenant's statements.
   *
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE if the options do not name the tenant's shard or
   * database
   */
  route (tenant: Tenant, statementTimeout: number = this.#timeoutOf(tenant)): TenantRoute {
    const isolation = isolationOf(tenant, this.#options)
    if (isolation === 'database') return this.#ownDatabase(tenant, statementTimeout)
    const shard = this.#shards.get(tenant.placement.shard)
    if (shard === undefined)
      throw misplaced(
        `the tenant's shard '${tenant.placement.shard}' is not among options.database.shards: ` +
          'name it there, or move the tenant'
      )
    this.#late.assertServed(tenant.placement.shard)
    return shard.route(tenant, isolation, statementTimeout)
  }

  /**
   * Returns the names of the shards whose tenants are refused because they were not checked yet.
   */
  get unserved (): readonly string[] {
    return this.#late.names
  }

  /** Returns the pools of the shards with their names. */
  get pools (): readonly (readonly [shard: string, pool: pg.Pool])[] {
    return Array.from(this.#shards, ([name, shard]) => [name, shard.pool.pool] as const)
  }

  get connections (): number {
    const shards = [...this.#shards.values()].reduce((sum, { connections }) => sum + connections, 0)
    return shards + (this.#databases?.connections ?? 0)
  }

  get waiting (): number {
    const shards = [...this.#shards.values()].reduce((sum, { waiting }) => sum + waiting, 0)
    return shards + (this.#databases?.waiting ?? 0)
  }

  dropPreparedNames (): void {
    for (const shard of this.#shards.values()) shard.dropPreparedNames()
    this.#databases?.dropPreparedNames()
  }

  async close (): Promise<void> {
    this.#late.end()
    await Promise.all([...Array.from(this.#shards.values(), shard => shard.close()),
      this.#databases?.close()])
  }

  #timeoutOf ({ plan }: Tenant): number {
    const { planTimeouts, statementTimeout } = this.#options.database
    return Object.hasOwn(planTimeouts, plan) ? planTimeouts[plan] ?? statementTimeout : statementTimeout
  }

  #ownDatabase (tenant: Tenant, statementTimeout: number): TenantRoute {
    const databases = this.#databases
    if (databases === undefined)
      throw misplaced(
        'the tenant has a database of its own, and options.database.tenants is not set: ' +
          'set options.database.tenants to the URL of such databases'
      )
    const { database: { lockTimeout, idleInTransaction, plans, tripwire, tagStatements }, tables } =
      this.#options
    // No role is set, because the login is the tenant's own and can reach only this tenant's data.
    const context = rlsContext(tenant, {
      role: 'none',
      schema: tables.schema,
      extensions: this.default.extensions(tables.schema),
      statementTimeout,
      lockTimeout,
      idleInTransaction,
      plans,
      isTagged: tagStatements,
      sign: undefined,
      lockout: undefined
    })
    // Undefined until the first connection is checked out, because a query is compiled before that.
    let judge: Judge | undefined
    return {
      acquire: () =>
        databases.acquire(tenant, pool => {
          judge = pool.judge
          return {
            tenant: tenant.id,
            context,
            guard: tripwire ? pool.guard(tenant.id) : undefined,
            deadline: statementTimeout + replyMarginMs,
            hasOwnDatabase: true,
            statementTimeout
          }
        }),
      compiler: new JudgingCompiler(() => judge)
    }
  }
}

// The reason is for operators, in the log. The client gets 503 and may retry, because a rolling
// deployment can be the cause.
function misplaced (why: string): Error {
  return new DatabaseUnavailableError(undefined, { cause: new SetupInvalidError(why) })
}

function told (shard: string, text: string): string {
  return shard === 'default' ? text : `shard '${shard}': ${text}`
}
