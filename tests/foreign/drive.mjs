// What the test has the program of docs/protocol.md do. Each step is a line of JSON on standard output;
// before it goes on it waits for a line on standard input, so that the test can look at the store first.
import fs from 'node:fs';
import readline from 'node:readline';
import {
  batch, clockAsk, clockOffset, enrol, example, heartbeat, nextSlotUs, openPlan, openSession, renewed,
  reportBody,
} from './probe.mjs';

const [address, token, home] = process.argv.slice(2);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = async (step) => {
  fs.writeSync(1, `${JSON.stringify(step)}\n`);
  await lines.next();
};
const failure = async (promise) => promise.then(() => null, ({ code, message }) => ({ code, message }));

const foreign = `snd1_${Buffer.alloc(46, 7).toString('base64url')}`;
await say({
  strangers: [await failure(enrol(address, foreign, home)), await failure(enrol(address, token.slice(0, -4), home))],
  wrote: fs.existsSync(`${home}/key.pem`),
});
const first = await enrol(address, token, home);
const again = await enrol(address, token, home); // as after a lost reply: the same token, the same key
await say({ enrolled: [first.probeId, again.probeId] });
for (const file of ['key.pem', 'csr.der']) fs.rmSync(`${home}/${file}`);
await say({ another: await failure(enrol(address, token, home)) }); // the same token, another key
const identity = await renewed(first);
await say({ renewed: identity.certificate.equals(first.certificate) });

const greeting = { boot_id: 'a boot', version: 'foreign 1', epoch: 9, next_seq: 1 };
const dial = () => {
  const stream = openSession(identity, greeting);
  const downs = stream[Symbol.asyncIterator]();
  const next = async (kind) => {
    const { value } = await downs.next();
    if (value.message !== kind) throw new Error(`${value.message} came instead of ${kind}`);
    return value[kind];
  };
  return { stream, next };
};
const { stream, next } = dial();
await say({ welcome: await next('welcome') });
const signed = await next('plan');
const plan = openPlan(signed, identity);
const forged = async (change) => openPlan({ ...signed, ...change(signed) }, identity);
await say({
  plan,
  forged: await failure(forged(({ plan: bytes }) => ({ plan: Buffer.concat([bytes, bytes]) }))),
  onceInsteadOfPlan: await failure((async () => openPlan(signed, identity, 'once'))()),
  anothers: await failure((async () => openPlan(signed, { ...identity, probeId: 'p0' }))()),
});

const check = plan.checks.find(({ kind }) => kind === 'KIND_TCP');
const slot = nextSlotUs(Date.now() * 1000 - 3 * check.interval_ms * 1000, identity.probeId, check);
const later = slot + check.interval_ms * 1000;
const mine = example.map((row, i) => {
  const slot_at_us = [slot, later][i];
  return { ...row, check_no: check.check_no, slot_at_us, started_at_us: slot_at_us + 400 };
});
stream.write(heartbeat(plan.version));
stream.write(clockAsk());
const clock = clockOffset(await next('clock'));
stream.write(clockAsk(clock));
await next('clock');
await say({ clock });
stream.write(batch(9, 1, mine));
await say({ ack: await next('ack'), check, slots: [slot, later] });
stream.write(batch(9, 2, [{ ...mine[0], lost: 2 }]));
await say({ reject: await next('reject') });
stream.write(batch(9, 1, mine)); // as after a cut: it was committed
await say({ ack: await next('ack') });
stream.write(batch(9, 3, [{ check_no: check.check_no, slot_at_us: later + 1, family: 4, state: 'STATE_NOT_RUN', reason: 'REASON_POLICY' }]));
await say({ ack: await next('ack') });
await say({ columns: reportBody(example) });

const second = dial();
const { have } = await second.next('welcome');
await say({ have, first: await failure(next('nothing')) });
second.stream.end();
process.exit(0);
