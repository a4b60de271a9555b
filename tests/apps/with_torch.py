"""PyTorch in requests: /NAME/HOW?N, where HOW is what the request does in the middle."""
import os
import time

import torch

QUANTUM_S = float(os.environ.get('QUANTUM_MS', 10)) / 1000


def compute():
    end = time.monotonic() + 1.2 * QUANTUM_S
    while time.monotonic() < end:
        pass


HOW = {'waits': lambda: time.sleep(0.002), 'computes': compute, 'plain': lambda: None}


def grad_mode(n, wait):
    """Odd requests are without gradients meanwhile."""
    before = torch.is_grad_enabled()
    with torch.set_grad_enabled(n % 2 == 0):
        wait()
        weight = torch.ones(3, requires_grad=True)
        inside = (weight * n).requires_grad
    with torch.inference_mode(n % 3 == 0):
        wait()
        inference = torch.is_inference_mode_enabled()
    return before, inside, inference, torch.is_grad_enabled()


def hook(n, wait):
    """Back through a hook in Python and a function in Python."""
    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            wait()
            return value * n

        @staticmethod
        def backward(context, gradient):
            wait()
            return gradient * n

    weight = torch.ones(3, requires_grad=True)
    weight.register_hook(lambda gradient: (wait(), gradient + 1)[1])
    Slow.apply(weight * 2).sum().backward()
    return weight.grad.tolist()


def autocast(n, wait):
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=n % 2 == 0):
        wait()
        return str((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)


def product(n, wait):
    wait()
    return (torch.ones(64, 64) * n @ torch.ones(64, 64)).sum().item()


views = {view.__name__: view for view in (grad_mode, hook, autocast, product)}


def application(environ, start_response):
    _, name, how = environ['PATH_INFO'].split('/')
    body = str(views[name](int(environ['QUERY_STRING']), HOW[how])).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
