#!/usr/bin/env node
// A worker: froe run --pool ... -- ./worker.js
const input = process.stdin[Symbol.asyncIterator]()
let data = Buffer.alloc(0) // what has come and was not used yet

async function handle (job, body) {
  console.error(job.bucket, job.key, body.length) // your code; throws when it failed
}

async function take (n) { // n bytes; without a number, a line
  const parts = [data]
  for (let got = data.length; n === undefined ? !parts.at(-1).includes('\n') : got < n; got += parts.at(-1).length) {
    const { value, done } = await input.next()
    if (done) process.exit()
    parts.push(value)
  }
  data = Buffer.concat(parts)
  const end = n ?? data.indexOf('\n') + 1, taken = data.subarray(0, end)
  data = data.subarray(end)
  return taken
}

async function main () {
  for (;;) {
    const job = JSON.parse(await take()), body = await take(job.body_bytes)
    const answer = await handle(job, body).then(() => ({ status: 'ok' }), error => ({ status: 'fail', reason: String(error) }))
    process.stdout.write(JSON.stringify({ id: job.id, ...answer }) + '\n')
  }
}

main()
