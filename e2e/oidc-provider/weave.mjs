// A program that traces a function with Weave: at https://HOST/traces of
// WANDB_BASE_URL, unless WF_TRACE_SERVER_URL says where.
//
//   PROJECT   its name, with or without the team's before it
import * as weave from 'weave';

const client = await weave.init(process.env.PROJECT);
const double = weave.op(async function double(n) { return { doubled: n * 2 }; });
console.log('result', JSON.stringify(await double(21)));
await client.waitForBatchProcessing();
console.log('done');
