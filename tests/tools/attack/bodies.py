def send_worst_bodies(*a):
    pass
