"""PyTorch, a careful loop: tensors in memory, permuted indices, the fused optimizer."""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import cases
import numpy as np
import torch
from torch import nn


def build(case: cases.Case, x: np.ndarray, y: np.ndarray, args) -> tuple[Callable, Callable]:
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if case.hidden is None:
        tensor = lambda a: torch.from_numpy(a).permute(0, 3, 1, 2).contiguous().to(device)
        body = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
        model = nn.Sequential(*body, nn.Flatten(), nn.Linear(1600, case.classes))
    else:
        tensor = lambda a: torch.from_numpy(a).to(device)
        sizes = (x.shape[1], *case.hidden)
        body = [m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b), nn.ReLU())]
        model = nn.Sequential(*body, nn.Linear(sizes[-1], case.classes))
    if args.variant == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    model = model.to(device)
    xs, ys, b = tensor(x), torch.from_numpy(y).long().to(device), case.batch
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.opt](model.parameters(), case.lr, fused=True)
    loss = lambda x, y: nn.functional.cross_entropy(model(x), y)
    if args.variant == "compile":
        loss = torch.compile(loss, dynamic=False)

    def run(epochs: int) -> None:
        for _ in range(epochs):
            for rows in torch.randperm(len(xs), device=device)[: len(xs) // b * b].view(-1, b):
                optimizer.zero_grad(set_to_none=True)
                loss(xs[rows], ys[rows]).backward()
                optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    @torch.no_grad()
    def predict(x: np.ndarray) -> np.ndarray:
        return model(tensor(x)).argmax(1).cpu().numpy()

    return run, lambda x, y: cases.accuracy(predict, x, y)


cases.main("torch", build, ["torch"], ("eager", "channels_last", "compile"), drops=True)
