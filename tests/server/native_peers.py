"""What native clients of the tests talk to, as processes of their own: native_peers.py grpc|zmq PORT. Each answers after WAIT_S."""
import concurrent.futures
import sys
import threading
import time

WAIT_S = 0.2
AT_ONCE = 64


def grpc_server(port):
    import grpc

    def say(request, context):
        time.sleep(WAIT_S)
        return request

    def say_thrice(request, context):
        for _ in range(3):
            time.sleep(WAIT_S / 3)
            yield request

    handlers = {'Say': grpc.unary_unary_rpc_method_handler(say), 'SayThrice': grpc.unary_stream_rpc_method_handler(say_thrice)}
    running = grpc.server(concurrent.futures.ThreadPoolExecutor(AT_ONCE))
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('test', handlers),))
    running.add_insecure_port(f'127.0.0.1:{port}')
    running.start()
    running.wait_for_termination()


def zmq_server(port):
    import zmq
    context = zmq.Context()
    outside, inside = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    outside.bind(f'tcp://127.0.0.1:{port}')
    inside.bind('inproc://workers')

    def work():
        with context.socket(zmq.REP) as line:
            line.connect('inproc://workers')
            while True:
                request = line.recv()
                time.sleep(WAIT_S)
                line.send(request)

    for _ in range(AT_ONCE):
        threading.Thread(target=work, daemon=True).start()
    zmq.proxy(outside, inside)


if __name__ == '__main__':
    {'grpc': grpc_server, 'zmq': zmq_server}[sys.argv[1]](int(sys.argv[2]))
