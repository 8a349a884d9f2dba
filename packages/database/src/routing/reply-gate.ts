import { ScopeClosedError } from '@fastify-tenancy/core'
import type { FastifyReply } from 'fastify'
import { finished } from 'node:stream'

import type { UnitOfWork } from '../kysely/unit-of-work.ts'
import { rehearseHead, type Head } from './rehearse-head.ts'

type Raw = FastifyReply['raw']
type ReplySource = NodeJS.ReadableStream & { destroy?(error: Error): void }
/** A call that would send bytes, held until the transaction has ended. */
type Call = readonly ['write' | 'end' | 'flushHeaders', readonly unknown[]]
type Replaced = 'writeHead' | 'write' | 'end' | 'flushHeaders' | 'destroy'

/**
 * Holds the reply of a request that is one transaction. The first byte ends the transaction,
 * because all code that can change the reply has run by then. If the commit fails, nothing was
 * sent, and Fastify replies with that error.
 *
 * The methods are replaced on the response itself, because any hook runs before Fastify's own
 * checks of status, headers and payload. See DECISIONS.md.
 */
export class ReplyGate {
  readonly #reply: FastifyReply
  readonly #raw: Raw
  readonly #unit: UnitOfWork
  readonly #own: Readonly<Record<Replaced, (...args: readonly never[]) => unknown>>
  /**
   * `waiting`: no byte yet. `held`: until the current code has run. `settling`: the transaction is
   * ending. `open`: calls pass through.
   */
  #state: 'waiting' | 'held' | 'settling' | 'open' = 'waiting'
  #head: Head | undefined
  #calls: Call[] = []
  #isEnded = false
  /** The arguments of a `destroy` call while the transaction was ending. */
  #destroyed: readonly unknown[] | undefined
  #source: ReplySource | undefined
  #isSourceOver = false

  constructor (reply: FastifyReply, unit: UnitOfWork) {
    const raw = reply.raw
    this.#reply = reply
    this.#raw = raw
    this.#unit = unit
    const { writeHead, write, end, flushHeaders, destroy, setHeader } = raw
    this.#own = { writeHead, write, end, flushHeaders, destroy }
    const sent = getterOf(raw, 'headersSent')
    const ended = getterOf(raw, 'writableEnded')
    Object.defineProperties(raw, {
      headersSent: { configurable: true, get: () => this.#isPromised || sent() },
      writableEnded: { configurable: true, get: () => (this.#isEnded && this.#state !== 'open') || ended() },
      writeHead: method((...args: Head) => this.#writeHead(args)),
      write: method((...args: readonly unknown[]) => this.#send(['write', args])),
      end: method((...args: readonly unknown[]) => this.#send(['end', args])),
      flushHeaders: method((...args: readonly unknown[]) => this.#send(['flushHeaders', args])),
      destroy: method((...args: readonly unknown[]) => this.#destroy(args)),
      setHeader: method((name: string, value: string) => {
        setHeader.call(raw, name, value)
        if (isEventStream(name, value)) queueMicrotask(() => this.#beginEvents())
        return raw
      })
    })
    raw.on('pipe', (source: ReplySource) => {
      this.#source = source
      this.#isSourceOver = false
      finished(source, { writable: false }, () => {
        this.#isSourceOver ||= this.#source === source
      })
    })
  }

  /** Drops the held reply, because an error reply replaces it. */
  onError (): void {
    if (this.#state !== 'held' && this.#state !== 'waiting') return
    this.#state = 'waiting'
    this.#head = undefined
    this.#calls = []
    this.#isEnded = false
  }

  /** Whether Fastify must treat the head as sent. */
  get #isPromised (): boolean {
    return this.#state !== 'open' && (this.#state !== 'waiting' || this.#head !== undefined)
  }

  #writeHead (head: Head): unknown {
    if (this.#isPassing()) return this.#call('writeHead', head)
    if (this.#isPromised) throw headersSent()
    rehearseHead(this.#raw, head)
    this.#head = head
    return this.#raw
  }

  #send (call: Call): unknown {
    if (this.#isPassing()) return this.#call(...call)
    this.#calls.push(call)
    this.#isEnded ||= call[0] === 'end'
    if (this.#state === 'waiting') {
      this.#state = 'held'
      // Runs after the current code. If that throws after the first write, as a trailer can, the
      // error still replaces the reply.
      queueMicrotask(() => {
        if (this.#state === 'held') void this.#settle()
      })
    }
    return call[0] === 'end' ? this.#raw : false
  }

  #destroy (args: readonly unknown[]): unknown {
    if (this.#state !== 'settling') return this.#call('destroy', args)
    this.#destroyed = args
    return this.#raw
  }

  // The first event may come late, and the client waits for the head. Fastify copies a stream's
  // headers to the response one by one before it reads the stream, so wait until all are copied.
  #beginEvents (): void {
    if (this.#state !== 'waiting' || this.#raw.destroyed) return
    if (Object.keys(this.#reply.getHeaders()).every(name => this.#raw.hasHeader(name)))
      this.#send(['flushHeaders', []])
  }

  /**
   * Whether a call passes through: the transaction has ended, never began, or does not belong to
   * this reply.
   */
  #isPassing (): boolean {
    if (this.#state !== 'waiting') return this.#state === 'open'
    // A hijacked reply passes through. Its transaction is rolled back with the scope.
    if (!this.#reply.sent && this.#unit.isOpen && !this.#unit.neverExecuted) return false
    if (this.#unit.isOpen && this.#unit.neverExecuted) this.#unit.leave()
    this.#state = 'open'
    return true
  }

  async #settle (): Promise<void> {
    this.#state = 'settling'
    try {
      if (this.#head === undefined) rehearseHead(this.#raw, [this.#raw.statusCode])
      await this.#endUnit(this.#head?.[0] ?? this.#raw.statusCode)
    } catch (error) {
      if (this.#unit.isOpen) await this.#unit.rollback().catch(() => {})
      this.#fail(error)
      return
    }
    this.#pass()
  }

  async #endUnit (status: number): Promise<void> {
    // The scope was aborted while the reply was made. Its transaction is rolled back with the
    // scope.
    if (!this.#unit.isOpen) throw new ScopeClosedError()
    // A failed rollback is ignored, because nothing was committed either way and the reply stays
    // correct.
    if (status >= 400 || this.#unit.isRollbackOnly) await this.#unit.rollback().catch(() => {})
    else await this.#unit.commit()
  }

  #pass (): void {
    this.#state = 'open'
    try {
      if (this.#head !== undefined) this.#call('writeHead', this.#head)
      let isFree = true
      for (const [name, args] of this.#calls.splice(0)) isFree = this.#call(name, args) !== false
      // The socket writes at the end of this event-loop turn. Destroy after it, so that the client
      // receives the head of the truncated reply.
      const destroyed = this.#destroyed
      if (destroyed !== undefined) setImmediate(() => this.#call('destroy', destroyed))
      else if (isFree && !this.#isEnded) this.#raw.emit('drain')
    } catch (error) {
      // The head was rehearsed, so this error is unexpected. No reply can be sent any more.
      this.#call('destroy', [error])
    }
  }

  #fail (error: unknown): void {
    this.#state = 'open'
    this.#calls = []
    if (this.#raw.destroyed) return
    this.#forgetPayload()
    const source = this.#source
    if (source === undefined || this.#isSourceOver || source.destroy === undefined) {
      void this.#reply.send(error)
      return
    }
    // Fastify listens to the stream and replies with its error.
    source.unpipe(this.#raw)
    source.destroy(error as Error)
  }

  // Fastify copies a stream's headers to the response and later removes them only from the reply.
  // It gives an error reply a content-length, which must not be combined with trailers.
  #forgetPayload (): void {
    const reply = this.#reply
    for (const name of ['content-type', 'content-length']) this.#raw.removeHeader(name)
    const names = reply.getHeader('trailer')
    if (typeof names !== 'string') return
    for (const name of names.split(/[ ,]+/)) reply.removeTrailer(name)
    reply.removeHeader('trailer').removeHeader('transfer-encoding')
  }

  #call (name: Replaced, args: readonly unknown[]): unknown {
    return Reflect.apply(this.#own[name], this.#raw, args)
  }
}

// The same error as Node's own. Fastify recognises it by its code.
function headersSent (): Error {
  return Object.assign(new Error('Cannot write headers after they are sent to the client'), {
    code: 'ERR_HTTP_HEADERS_SENT'
  })
}

function method (value: (...args: never[]) => unknown): PropertyDescriptor {
  return { configurable: true, writable: true, value }
}

function getterOf (raw: Raw, name: 'headersSent' | 'writableEnded'): () => boolean {
  return () => Reflect.get(Object.getPrototypeOf(raw) as object, name, raw) as boolean
}

function isEventStream (name: string, value: unknown): boolean {
  return name.toLowerCase() === 'content-type' && /^text\/event-stream\b/i.test(String(value))
}
