/** The results as a text. */
const us = (value) => `${value.toFixed(value < 100 ? 1 : 0)} µs`;
const times = (value) => `${value.toFixed(2)} x`;

export function report({ adapter, products = [], models }) {
  const lines = [`${adapter.vendor} ${adapter.architecture || adapter.description}`.trim()];
  if (adapter.isCpu)
    lines.push('No GPU: these figures mean nothing for speed. Small shapes were run to show that everything works.');
  if (products.length > 0)
    lines.push(
      '',
      'Two 4-bit matrix products in a chain, outputs on the GPU: time of both, and theirs / ours',
      ...products.map(productLine),
    );
  if (models) lines.push('', ...modelLines(models));
  return lines.join('\n');
}

function productLine({ model, shapes, tokens, sluice, ort }) {
  const best = ort.filter(({ us }) => us !== undefined).sort((a, b) => a.us - b.us)[0];
  const own = ['exact', 'fast'].flatMap((precision) => {
    if (!sluice.every((row) => row[precision])) return [];
    const sum = sluice.reduce((total, row) => total + row[precision].us, 0);
    return [`${precision} ${us(sum)}${best ? ` (${times(best.us / sum)})` : ''}`];
  });
  const named = shapes.map(([rows, cols]) => `${rows}x${cols}`).join(' ');
  const how =
    best &&
    `${us(best.us)} (${best.build}, blocks of ${best.block}${best.capture ? ', captured' : ''}; ${us(best.encodeUs)} until its calls return)`;
  return `  ${model} ${named}, ${tokens} token${tokens > 1 ? 's' : ''}: Sluice ${own.join(', ')}; onnxruntime-web ${how ?? `failed: ${ort[0].error}`}`;
}

function modelLines({ preset, small, decodeTokens, sluice, f16, wllama }) {
  const shapes = small ? `small shapes like ${preset}` : preset;
  const mb = (bytes) => `${(bytes / 1e6).toFixed(small ? 2 : 0)} MB of weights a token`;
  const rate = (value) => `${value.toFixed(1)} tokens/s`;
  const lines = [`Decode, ${decodeTokens} tokens, ${shapes}: all layers of the same shapes on both sides`];
  for (const { precision, decodeTokensPerSecond, weightBytes } of sluice)
    lines.push(`  Sluice ${precision}: ${rate(decodeTokensPerSecond)}, ${mb(weightBytes)}`);
  if (wllama.error) return [...lines, `  wllama failed: ${wllama.error}`];
  const where = wllama.backend === 'webgpu' ? 'WebGPU' : `CPU, ${wllama.threads} thread${wllama.threads > 1 ? 's' : ''}`;
  const ratios = sluice.map((row) => `${row.precision} ${times(row.decodeTokensPerSecond / wllama.decodeTokensPerSecond)}`);
  lines.push(
    `  wllama on its ${where}: ${rate(wllama.decodeTokensPerSecond)}, ${mb(wllama.weightBytes)} (Sluice ${ratios.join(', ')})`,
  );
  if (wllama.backend !== 'webgpu')
    lines.push(
      `  wllama's WebGPU backend did not start here${f16 ? '' : ': it asks for shader-f16, which this adapter lacks'}; no comparison of GPUs.`,
    );
  lines.push(
    '  What differs: Q4_0 (an f16 scale for 32 values) against an affine pair for 64; keys and values f16 on both; both sample at 0.7, 20, 0.95.',
  );
  return lines;
}
