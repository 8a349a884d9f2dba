// What a move notices of what happens beside it, and what it leaves of itself when it is stopped.
import t from 'tap'

import { until } from '../support/until.ts'
import { items, once, plain } from './items.ts'

t.jobs = 2

t.test('a pause that is over ends the statement in the server, too, with its locks', { buffered: true }, async t => {
  const { on, id, move } = await items(t, isShared => `${plain(isShared)};
    create function sleepy () returns trigger language plpgsql as $f$ begin if new.body = 'slow' then perform pg_sleep(100); end if; return new; end $f$;
    ${isShared ? '' : 'create trigger sleepy before insert on items for each row execute function sleepy()'}`)
  await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
  const asleep = 'select from pg_stat_activity where datname = current_database() and wait_event = \'PgSleep\''
  let seen = 0
  const watching = until(async () => {
    seen += (await on.admin(asleep)).length
    return seen
  })
  let failed: { code?: string, message?: string } = {}
  move({ isolation: 'schema', pause: '2s' }, once('fence', 'update items set body = \'slow\' where id = 1')).catch((error: Error) => { failed = error })
  await watching
  t.ok(seen > 0, 'control: it was at work')
  await until(async () => (await on.admin(asleep)).length === 0)
  await until(() => failed.message !== undefined)
  t.match(failed, { code: 'FST_TENANCY_MOVE_FAILED', message: /without service for more than 2 s/ })
  t.match(await on.manager.get({ id }), { isolation: 'rls', status: 'active' })
  t.same(await on.admin('select from pg_namespace where nspname like \'tenant_%\''), [], 'what was made is gone')
})
