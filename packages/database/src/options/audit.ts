/** What the audit is told of work across tenants, before its first statement. */
export interface AuditEvent {
  readonly type: 'system-access'
  readonly at: Date
  readonly reason: string
  readonly actor: string
  readonly write: boolean
  readonly shard: string
}

/** Keeps an event. What it throws, or rejects with, refuses the work. */
export type Audit = (event: AuditEvent) => void | Promise<void>
