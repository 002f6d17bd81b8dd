"""A whole model end to end against transformers on the dequantised weights, in f32.

usage: reference.py [--preset qwen3.5-0.8b] [--layers N] [--model DIR] [--tokens 64] [--decode 8] [--precision exact] [--bound 1e-3]
                    [--cli 'node dist/cli.mjs'] [--work DIR]
Writes a synthetic 4-bit checkpoint (or takes the one of --model, in MLX naming), lets `score` read random ids through prefill and through
decode, and compares each row of logits with the reference's: ||ours - theirs|| / ||theirs||. Exits with 1 where a row is beyond the bound.
Needs PyTorch, transformers and safetensors; the reference runs on the CPU, where f32 is f32.
"""
import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM


def main():
    options = parse()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        model = options.model or synthesise(options, os.path.join(work, 'model'))
        config = json.load(open(os.path.join(model, 'config.json')))
        chance = random.Random(1)
        ids = [chance.randrange(config['text_config']['vocab_size']) for _ in range(options.tokens + options.decode)]
        ours = score(options, model, ids, work)
        theirs = reference(model, config, ids)
    errors = ((ours - theirs).norm(dim=1) / theirs.norm(dim=1)).tolist()
    worst = {'prefill': max(errors[: options.tokens]), 'decode': max(errors[options.tokens :], default=0.0)}
    agree = (ours.argmax(1) == theirs.argmax(1)).float().mean().item()
    parted = {'layers': config['text_config']['num_hidden_layers'], 'precision': options.precision, 'rows': len(errors)}
    print(json.dumps({**parted, 'worst': worst, 'same_argmax': agree, 'deviation': theirs.std().item(), 'bound': options.bound}))
    if not max(errors) <= options.bound:  # a NaN is beyond it too
        sys.exit(1)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', default='qwen3.5-0.8b')
    parser.add_argument('--layers', type=int)
    parser.add_argument('--model')
    parser.add_argument('--tokens', type=int, default=64)
    parser.add_argument('--decode', type=int, default=8)
    parser.add_argument('--precision', choices=['exact', 'fast'], default='exact')
    parser.add_argument('--bound', type=float, default=1e-3)
    parser.add_argument('--cli', default='node dist/cli.mjs')
    parser.add_argument('--work')
    return parser.parse_args()


def run(options, *arguments):
    subprocess.run([*shlex.split(options.cli), *arguments], check=True, stdout=sys.stderr)


def synthesise(options, folder):
    layers = ['--layers', str(options.layers)] if options.layers else []
    run(options, 'synth', '--preset', options.preset, '--bits', '4', *layers, '--out', folder)
    return folder


def score(options, model, ids, work):
    """Logits [len(ids), vocab] f32: of the first ids through prefill, of the others one at a time."""
    paths = {name: os.path.join(work, f'{name}.json') for name in ('prompt', 'decode')}
    out = os.path.join(work, 'logits.safetensors')
    for name, part in (('prompt', ids[: options.tokens]), ('decode', ids[options.tokens :])):
        with open(paths[name], 'w') as file:
            json.dump(part, file)
    decode = ['--decode-tokens', paths['decode']] if options.decode else []
    run(options, 'score', '--model', model, '--tokens', paths['prompt'], *decode, '--precision', options.precision, '--out', out)
    logits = load_file(out)
    return torch.cat([logits['logits'], logits['decode_logits']]) if decode else logits['logits']


@torch.no_grad()
def reference(model, config, ids):
    text = dict(config['text_config'])
    for name in ('dtype', 'torch_dtype'):
        text.pop(name, None)
    made = AutoConfig.for_model(text.pop('model_type'), **text)
    made._attn_implementation = 'eager'
    network = AutoModelForCausalLM.from_config(made).float().eval()
    weights = load_weights(model, config)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    network.tie_weights()
    tied = {'lm_head.weight'} if config['tie_word_embeddings'] else set()
    if unexpected or set(missing) - tied:
        raise ValueError(f'the checkpoint and transformers differ: missing {missing}, unexpected {unexpected}')
    return network(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def load_weights(model, config):
    """transformers' names and f32 values from MLX's names, packed words and one-based norms."""
    tensors = {}
    for name in sorted(os.listdir(model)):
        if name.startswith('model') and name.endswith('.safetensors'):
            tensors.update(load_file(os.path.join(model, name)))
    weights = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition('.')
        if kind in ('scales', 'biases'):
            continue
        own = name.removeprefix('language_model.')
        if f'{module}.scales' in tensors:
            bits = {**config['quantization'], **(config['quantization'].get(module) or {})}['bits']
            weights[own] = dequantise(tensor, tensors[f'{module}.scales'], tensors[f'{module}.biases'], bits)
        elif module.endswith('conv1d'):
            weights[own] = tensor.float().permute(0, 2, 1)
        elif 'norm' in own and not own.endswith('linear_attn.norm.weight'):
            weights[own] = tensor.float() - 1
        else:
            weights[own] = tensor.float()
    return fuse_experts(weights)


def fuse_experts(weights):
    """transformers keeps a layer's experts in two tensors: gate_up_proj [experts, 2 * intermediate, hidden], down_proj [experts, hidden, intermediate]."""
    for name in [name for name in weights if name.endswith('.switch_mlp.gate_proj.weight')]:
        own = name.removesuffix('gate_proj.weight')
        experts = own.replace('.switch_mlp.', '.experts.')
        weights[f'{experts}gate_up_proj'] = torch.cat([weights.pop(name), weights.pop(f'{own}up_proj.weight')], 1)
        weights[f'{experts}down_proj'] = weights.pop(f'{own}down_proj.weight')
    return weights


def dequantise(packed, scales, biases, bits):
    """[..., rows, cols * bits / 32] words, [..., rows, groups] scales and biases -> [..., rows, cols] f32. Values lie from the lowest bit up."""
    if 32 % bits:
        raise ValueError(f'{bits} bits do not divide a word')
    words = packed.view(torch.int32).unsqueeze(-1)
    values = (words >> torch.arange(0, 32, bits, dtype=torch.int32)) & (2**bits - 1)
    grouped = values.reshape(*scales.shape, -1).float()
    return (grouped * scales.float().unsqueeze(-1) + biases.float().unsqueeze(-1)).flatten(-2)


if __name__ == '__main__':
    main()
