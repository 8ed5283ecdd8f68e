// A program that trains for a while and logs what becomes of it to a Weights &
// Biases server at WANDB_BASE_URL. It tells on stdout when it has started, and
// when it believes that all has arrived.
//
//   METRICS   how many
//   EVERY_MS  how long to wait between two
import { setTimeout as wait } from 'node:timers/promises';
import wandb from '@wandb/sdk';

const run = await wandb.init({ project: 'e2e' });
console.log('started', run.id);
for (let i = 0; i < Number(process.env.METRICS); i++) {
  wandb.log({ value: i });
  await wait(Number(process.env.EVERY_MS));
}
await wandb.finish();
console.log('done');
