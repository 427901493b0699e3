import { describe, expect, it } from 'vitest';
import { TokenChanges } from '../lib/tokens/token-changes.js';

describe('A published change of tokens', () => {
  it('reaches every listener before publish returns, with the user and the origin', () => {
    const changes = new TokenChanges();
    const received: unknown[] = [];
    changes.subscribe((...change) => void received.push(['first', ...change]));
    changes.subscribe((...change) => void received.push(['second', ...change]));
    void changes.publish('ann');
    void changes.publish(null, 'remote');
    expect(received).toEqual([
      ['first', 'ann', 'local'],
      ['second', 'ann', 'local'],
      ['first', null, 'remote'],
      ['second', null, 'remote'],
    ]);
  });

  it('is complete when every listener is done', async () => {
    const changes = new TokenChanges();
    let finish = () => {};
    changes.subscribe(() => new Promise((resolve) => (finish = resolve)));
    let isComplete = false;
    const publishing = changes.publish('ann').then(() => (isComplete = true));
    await Promise.resolve();
    expect(isComplete).toBe(false);
    finish();
    await publishing;
    expect(isComplete).toBe(true);
  });

  it('needs no listener', async () => {
    await expect(new TokenChanges().publish('ann')).resolves.toBeUndefined();
  });
});
