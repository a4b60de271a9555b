"""A mule of a farm: each message is for one of them."""
import uwsgi

while True:
    print(f'mule {uwsgi.mule_id()} of the farm did {uwsgi.farm_get_msg().decode()}', flush=True)
