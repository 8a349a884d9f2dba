import t from 'tap'

import { Breaker } from '../../packages/redis/src/breaker.ts'

t.test('five failures in a row open it, and a successful probe closes it', async t => {
  let now = 0
  const breaker = new Breaker(5, 1_000, () => now)
  for (let i = 0; i < 4; i++) {
    t.ok(breaker.tryPass())
    breaker.fail()
  }
  t.equal(breaker.state, 'closed')
  t.ok(breaker.isShaken)
  breaker.fail()
  t.equal(breaker.state, 'open')
  t.notOk(breaker.tryPass())
  now = 999
  t.notOk(breaker.isPassable)
  now = 1_000
  t.equal(breaker.state, 'half-open')
  t.ok(breaker.isPassable)
  t.ok(breaker.tryPass())
  t.notOk(breaker.tryPass(), 'one probe at a time')
  breaker.fail()
  t.equal(breaker.state, 'open', 'a failed probe opens it again')
  now = 2_000
  t.ok(breaker.tryPass())
  breaker.succeed()
  t.equal(breaker.state, 'closed')
  t.notOk(breaker.isShaken)
})

t.test('failures with successes between them do not open it', async t => {
  const breaker = new Breaker(2, 1_000, () => 0)
  for (let i = 0; i < 10; i++) {
    breaker.fail()
    breaker.succeed()
  }
  t.equal(breaker.state, 'closed')
})
