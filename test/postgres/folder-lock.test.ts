// Two PGlites on one folder overwrite each other's rows without an error, so a folder has one user.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import { lockFolder } from '../../packages/postgres/src/client/folder-lock.ts'

function newFolder (t: Test): { folder: string; file: string } {
  const folder = mkdtempSync(join(tmpdir(), 'folder-lock-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  return { folder, file: join(folder, 'in-use.lock') }
}

t.test('a folder that this process uses is refused until its use has ended', async t => {
  const { folder, file } = newFolder(t)
  const first = lockFolder(folder)
  await first.ready
  t.equal(readFileSync(file, 'utf8'), `${process.pid} ${hostname()}`)
  t.throws(() => lockFolder(join(folder, '../', folder.split('/').pop() ?? '')), {
    code: 'FST_TENANCY_DATABASE_UNAVAILABLE',
    message: /is open in this process already/
  })
  await first.release(Promise.resolve())
  t.notOk(existsSync(file))
  const second = lockFolder(folder)
  await second.ready
  await second.release(Promise.resolve())
})

t.test('a use that is ending is waited for', async t => {
  const { folder, file } = newFolder(t)
  const first = lockFolder(folder)
  const end = Promise.withResolvers<void>()
  const released = first.release(end.promise)
  const second = lockFolder(folder)
  const later = new Promise(resolve => setImmediate(resolve, 'later'))
  t.equal(await Promise.race([second.ready, later]), 'later')
  end.resolve()
  await released
  await second.ready
  t.ok(existsSync(file))
  await second.release(Promise.resolve())
  t.notOk(existsSync(file))
})

t.test('a folder that another process uses is refused, with that process', async t => {
  const { folder, file } = newFolder(t)
  for (
    const [owner, message] of [
      [`${process.ppid} ${hostname()}`,
        new RegExp(`in use by process ${process.ppid} on .*: stop that process`)],
      ['1 another-machine', /in use by process 1 on another-machine.*remove .*in-use\.lock/]
    ] as const
  ) {
    writeFileSync(file, owner)
    t.throws(() => lockFolder(folder), { code: 'FST_TENANCY_DATABASE_UNAVAILABLE', message })
    t.equal(readFileSync(file, 'utf8'), owner, 'and keeps it')
  }
})

t.test('the lock of a process that died is replaced', async t => {
  const { folder, file } = newFolder(t)
  const { pid } = spawnSync(process.execPath, ['--eval', ''])
  for (const dead of [pid, process.pid]) {
    writeFileSync(file, `${dead} ${hostname()}`)
    const lock = lockFolder(folder)
    await lock.ready
    t.equal(readFileSync(file, 'utf8'), `${process.pid} ${hostname()}`)
    await lock.release(Promise.resolve())
  }
})
