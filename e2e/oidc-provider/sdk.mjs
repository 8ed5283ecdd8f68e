// A program that logs to a Weights & Biases server at WANDB_BASE_URL.
import wandb from '@wandb/sdk';

await wandb.init({ project: 'e2e' });
wandb.log({ loss: 0.5 });
await wandb.finish();
console.log('done');
