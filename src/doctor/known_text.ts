/** What the bundled model answers at temperature 0: expected.safetensors as text, which a test holds it to. */
export const knownReplies = [
  {
    prompt: 'robot',
    reply: 'I am glad you liked it. Ask me for one more!',
  },
  {
    prompt: 'Tell me a story about a cat and a key.',
    reply:
      'Once upon a time, there was a little girl named Lily. She loved to play with her toys and eat yummy food. One day, ' +
      "Lily's mom told her that they were going to a special place. Lily was very excited and couldn't wait to go to the park.\n" +
      'At the park, Lily saw a big tree. She wanted to climb it. But her mom said, "No, Lily. You must stay here and be careful." ' +
      'Lily was sad, but she knew she had to be careful. She went to the top and started to walk.\n' +
      'While she was walking, she saw a big tree. She thought it would be fun to climb the tree. She climbed up the tree and ' +
      'reached for the top. Inside, she found a small, shiny key. Lily was so happy and thanked her mom. She went back to the ' +
      'park and played with her new key all day.',
  },
] as const;
