"""Three lines in a loop of one's own: signs of trouble, judged, while a small network learns too fast."""

import torch
from torch import nn

from limes.measure import Monitor


class Model(nn.Module):
    """One attention block over tokens; any module will do."""

    def __init__(self, vocab_size: int = 16, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.block = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.readout = nn.Linear(width, vocab_size, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (batch, length) -> logits."""
        length = tokens.shape[1]
        closed = torch.ones(length, length, dtype=torch.bool).triu(1)
        return self.readout(self.block(self.embedding(tokens), src_mask=closed))


def main() -> None:
    """Train with a learning rate that is far too large, and ask the monitor."""
    generator = torch.Generator().manual_seed(0)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    monitor = Monitor(model, optimizer, every=10)
    for _ in range(41):
        tokens = torch.randint(16, (8, 17), generator=generator)
        logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step(loss)
    monitor.close()
    for row in monitor.rows():
        if row.advice:
            print(f"{row.level}: {row.sign} is {row.value:.3g} at {row.place or 'the output'}: {row.advice}")


if __name__ == "__main__":
    main()
